;; Functions of the right names with types that the host must look at without harm.
(module
  (memory (export "memory") 1)
  (func (export "roost_abi_1"))
  (func (export "other") (param i64 f32 f64) (result funcref i32) (ref.null func) (i32.const 0))
  (func (export "handle") (result v128) (v128.const i64x2 0 0)))

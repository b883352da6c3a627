;; An import that no host has.
(module
  (import "env" "sbrk" (func (param i32) (result i64)))
  (memory (export "memory") 1 3)
  (func (export "roost_abi_1"))
  (func (export "handle") (result i32) (i32.const 0)))

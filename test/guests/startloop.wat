;; Never gets past its start section: to be cut by limits.cpu.
(module
  (memory (export "memory") 1)
  (func $start
    (loop $again
      (i32.store (i32.const 0) (i32.add (i32.load (i32.const 0)) (i32.const 1)))
      (br $again)))
  (start $start)
  (func (export "roost_abi_1"))
  (func (export "handle") (result i32) (i32.const 0)))

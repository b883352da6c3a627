;; Waits for another thread, of which there is none: for ever, were it not a trap.
(module
  (memory (export "memory") 1 1 shared)
  (func (export "roost_abi_1"))
  (func (export "handle") (result i32)
    (memory.atomic.wait32 (i32.const 0) (i32.const 0) (i64.const -1))))

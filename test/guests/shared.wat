;; What a compiler makes for threads: a shared memory that is filled once, whoever comes first, and
;; atomic instructions. The event counts by one of them.
(module
  (memory (export "memory") 1 4 shared)
  (data $text "counted")
  (func $init
    (if (i32.eqz (i32.atomic.rmw.cmpxchg (i32.const 0) (i32.const 0) (i32.const 1)))
      (then
        (memory.init $text (i32.const 16) (i32.const 0) (i32.const 7))
        (data.drop $text))))
  (start $init)
  (func (export "roost_abi_1"))
  (func (export "handle") (result i32)
    (atomic.fence)
    (drop (memory.atomic.notify (i32.const 8) (i32.const 1)))
    (drop (i32.atomic.rmw.add (i32.const 8) (i32.const 1)))
    (i32.ne (i32.load8_u (i32.const 16)) (i32.const 99))))

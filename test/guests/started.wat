;; A start section, and _initialize: each counts how often it ran, the event checks that it was once,
;; in this order, and that what it counted itself is there.
(module
  (memory (export "memory") 1)
  (global $events (mut i32) (i32.const 0))
  (func $start
    (i32.store (i32.const 0) (i32.add (i32.load (i32.const 0)) (i32.const 1))))
  (start $start)
  (func (export "_initialize")
    (i32.store (i32.const 4) (i32.add (i32.load (i32.const 4)) (i32.load (i32.const 0)))))
  (func (export "roost_abi_1"))
  (func (export "handle") (result i32)
    (global.set $events (i32.add (global.get $events) (i32.const 1)))
    (i32.store (i32.const 8) (i32.add (i32.load (i32.const 8)) (i32.const 1)))
    (if (i32.ne (i32.load (i32.const 0)) (i32.const 1)) (then (return (i32.const 1))))
    (if (i32.ne (i32.load (i32.const 4)) (i32.const 1)) (then (return (i32.const 2))))
    (i32.ne (global.get $events) (i32.load (i32.const 8)))))

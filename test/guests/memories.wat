;; Two memories, which count events alike; grow (the second by a page each time) is in the count of
;; pages. Where the two do not fit any more the event fails.
(module
  (memory $first (export "memory") 1)
  (memory $second 1)
  (func (export "roost_abi_1"))
  (func (export "handle") (result i32)
    (if (i32.ne (i32.load $first (i32.const 0)) (i32.load $second (i32.const 8)))
      (then (return (i32.const 1))))
    (if (i32.ne (memory.size $second) (i32.add (i32.load $first (i32.const 0)) (i32.const 1)))
      (then (return (i32.const 2))))
    (if (i32.eq (memory.grow $second (i32.const 1)) (i32.const -1))
      (then (return (i32.const 3))))
    (i32.store $first (i32.const 0) (i32.add (i32.load $first (i32.const 0)) (i32.const 1)))
    (i32.store $second (i32.const 8) (i32.add (i32.load $second (i32.const 8)) (i32.const 1)))
    (i32.const 0)))

;; A passive segment that is never dropped is no state: each event copies from it again, over what
;; the last one has put there, and finds its own count as it was.
(module
  (memory (export "memory") 1)
  (data $text "abc")
  (elem $never func $f)
  (func $f)
  (func (export "roost_abi_1"))
  (func (export "handle") (result i32)
    (i32.store (i32.const 0) (i32.add (i32.load (i32.const 0)) (i32.const 1)))
    (i32.store (i32.const 8) (i32.const 0))
    (memory.init $text (i32.const 8) (i32.const 0) (i32.const 3))
    (i32.ne (i32.load (i32.const 8)) (i32.const 0x636261))))

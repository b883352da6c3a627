;; As fills.wat, with copies of nearly 256 MiB that overlap: down by a page, then up again.
(module
  (memory (export "memory") 4096)
  (func $copy (param $to i32) (param $from i32)
    (memory.copy (local.get $to) (local.get $from)
                 (i32.sub (i32.shl (memory.size) (i32.const 16)) (i32.const 65536))))
  (func (export "roost_abi_1"))
  (func (export "handle") (result i32)
    (loop $again
      (call $copy (i32.const 0) (i32.const 65536))
      (call $copy (i32.const 65536) (i32.const 0))
      (br $again))
    (unreachable)))

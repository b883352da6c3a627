;; Changes its table, and drops a segment of each kind: a sleep would lose that. In memory it counts
;; its events; the function in the table says whether that number is odd. Where the two do not fit
;; any more the event fails.
(module
  (type $answer (func (result i32)))
  (memory (export "memory") 1)
  (table $t 2 funcref)
  (global $last (mut funcref) (ref.null func))
  (elem (i32.const 0) func $even)
  (elem $odds func $odd)
  (data $bytes "dropped")
  (func $even (type $answer) (i32.const 0))
  (func $odd (type $answer) (i32.const 1))
  (func (export "roost_abi_1"))
  (func (export "handle") (result i32)
    (local $n i32)
    (local.set $n (i32.load (i32.const 0)))
    (if (i32.ne (call_indirect $t (type $answer) (i32.const 0)) (i32.and (local.get $n) (i32.const 1)))
      (then (return (i32.const 1))))
    (if (i32.eqz (local.get $n))
      (then
        (table.init $t $odds (i32.const 1) (i32.const 0) (i32.const 1))
        (elem.drop $odds)
        (data.drop $bytes)))
    (global.set $last (table.get $t (i32.const 0)))
    (table.set $t (i32.const 0) (table.get $t (i32.const 1)))
    (table.set $t (i32.const 1) (global.get $last))
    (i32.store (i32.const 0) (i32.add (local.get $n) (i32.const 1)))
    (i32.const 0)))

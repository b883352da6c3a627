# Two mutable globals of the module itself, beside clang's stack pointer: C has no word for them.
# A sleep that forgot the globals would show here.
	.globaltype	ledger_global_events, i64
	.globl	ledger_global_events
ledger_global_events:
	.globaltype	ledger_global_mix, i64
	.globl	ledger_global_mix
ledger_global_mix:

	.section	.text.ledger_globals_get_events,"",@
	.globl	ledger_globals_get_events
	.type	ledger_globals_get_events,@function
ledger_globals_get_events:
	.functype	ledger_globals_get_events () -> (i64)
	global.get	ledger_global_events
	end_function

	.section	.text.ledger_globals_get_mix,"",@
	.globl	ledger_globals_get_mix
	.type	ledger_globals_get_mix,@function
ledger_globals_get_mix:
	.functype	ledger_globals_get_mix () -> (i64)
	global.get	ledger_global_mix
	end_function

	.section	.text.ledger_globals_set,"",@
	.globl	ledger_globals_set
	.type	ledger_globals_set,@function
ledger_globals_set:
	.functype	ledger_globals_set (i64, i64) -> ()
	local.get	0
	global.set	ledger_global_events
	local.get	1
	global.set	ledger_global_mix
	end_function

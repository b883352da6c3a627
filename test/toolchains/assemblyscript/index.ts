// A guest in AssemblyScript without an SDK, for test_toolchains. It has a start section, which makes
// what is below at top level, and its collector's state in mutable globals: both have to come out
// right. Reports `assemblyscript events=N keys=K`.

@external("roost", "call")
declare function call(method: usize, methodLen: u32, target: usize, targetLen: u32, headers: usize,
                      headersLen: u32, body: usize, bodyLen: u32, flags: u32): i32;
@external("roost", "close")
declare function close(handle: i32): i32;
@external("roost", "attr")
declare function attr(handle: i32, name: usize, nameLen: u32, buf: usize, cap: u32): i32;

// In place of the import env.abort, which the host does not have (asc --use abort=index/abort).
function abort(message: string | null, file: string | null, line: u32, column: u32): void {
  unreachable();
}

const seen = new Map<string, i32>();
const order: string[] = [];
let events: i32 = 0;

function event(name: string): string {
  const n = String.UTF8.encode(name);
  const buf = new ArrayBuffer(256);
  const got = attr(0, changetype<usize>(n), n.byteLength, changetype<usize>(buf), buf.byteLength);
  return got > 0 ? String.UTF8.decodeUnsafe(changetype<usize>(buf), got) : "";
}

function report(text: string): bool {
  const method = String.UTF8.encode("POST");
  const target = String.UTF8.encode("kube:/api/v1/report");
  const body = String.UTF8.encode(text);
  const h = call(changetype<usize>(method), method.byteLength, changetype<usize>(target),
                 target.byteLength, 0, 0, changetype<usize>(body), body.byteLength, 0);
  return h > 0 && close(h) == 0;
}

export function roost_abi_1(): void {}

export function handle(): i32 {
  const key = event("key");
  events++;
  seen.set(key, (seen.has(key) ? seen.get(key) : 0) + 1);
  order.push(key);
  let sum = 0;
  const counts = seen.values();
  for (let i = 0; i < counts.length; i++) sum += counts[i];
  if (sum != events || order.length != events) return 1;
  return report(`assemblyscript events=${events} keys=${seen.size}`) ? 0 : 2;
}

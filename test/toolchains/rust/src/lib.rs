//! Counts events in collections on the heap and reports them, so that the test sees whether memory
//! came back: `rust NAME env=VALUE events=N keys=K starts=S`. HashMap asks for random numbers, the
//! clock and the environment are WASI's.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::time::{Instant, SystemTime};

#[link(wasm_import_module = "roost")]
extern "C" {
    #[allow(clippy::too_many_arguments)]
    fn call(
        method: *const u8, method_len: usize, target: *const u8, target_len: usize,
        headers: *const u8, headers_len: usize, body: *const u8, body_len: usize, flags: u32,
    ) -> i32;
    fn close(handle: i32) -> i32;
    fn attr(handle: i32, name: *const u8, name_len: usize, buf: *mut u8, cap: usize) -> i32;
}

#[derive(Default)]
struct State {
    events: u64,
    by_key: HashMap<String, u64>,
    in_order: BTreeMap<u64, String>,
    last: Option<Instant>,
}

thread_local! {
    static STATE: RefCell<State> = RefCell::default();
}

fn event(name: &str) -> String {
    let mut buf = [0u8; 256];
    let n = unsafe { attr(0, name.as_ptr(), name.len(), buf.as_mut_ptr(), buf.len()) };
    String::from_utf8_lossy(&buf[..n.max(0) as usize]).into_owned()
}

fn report(body: &str) -> bool {
    let (method, target) = ("POST", "kube:/api/v1/report");
    unsafe {
        let h = call(
            method.as_ptr(), method.len(), target.as_ptr(), target.len(),
            std::ptr::null(), 0, body.as_ptr(), body.len(), 0,
        );
        h > 0 && close(h) == 0
    }
}

#[no_mangle]
pub extern "C" fn roost_abi_1() {}

#[no_mangle]
pub extern "C" fn handle() -> i32 {
    let key = event("key");
    let text = STATE.with_borrow_mut(|s| {
        let now = Instant::now();
        if s.last.is_some_and(|last| last > now) || SystemTime::now() < SystemTime::UNIX_EPOCH {
            return "rust: time went back".to_string();
        }
        s.last = Some(now);
        s.events += 1;
        *s.by_key.entry(key.clone()).or_default() += 1;
        s.in_order.insert(s.events, key);
        if s.by_key.values().sum::<u64>() != s.events || s.in_order.len() as u64 != s.events {
            return "rust: memory is not as it was".to_string();
        }
        format!(
            "rust {} env={} events={} keys={}",
            std::env::args().next().unwrap_or_default(),
            std::env::var("WORD").unwrap_or_default(), s.events, s.by_key.len(),
        )
    });
    println!("{text}");
    if report(&text) { 0 } else { 1 }
}

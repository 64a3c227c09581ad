//! Lists the scenarios: each file of this folder is a module of theirs, and each folder with a `mod.rs`, so that none is
//! left out.

use std::{env, error::Error, fmt::Write as _, fs, path::Path};

const NO_SCENARIOS: [&str; 2] = ["build.rs", "main.rs"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=.");
    let folder = env::current_dir()?;
    let entries = fs::read_dir(&folder)?.map(|entry| entry.map(|entry| entry.file_name()));
    let mut entries = entries.collect::<Result<Vec<_>, _>>()?;
    entries.sort();
    let mut list = String::new();
    for entry in entries.iter().filter_map(|name| name.to_str()) {
        let module = folder.join(entry).join("mod.rs");
        if module.exists() {
            writeln!(list, "#[path = {module:?}]\nmod {entry};")?;
        } else if let Some(name) = entry.strip_suffix(".rs").filter(|_| !NO_SCENARIOS.contains(&entry)) {
            writeln!(list, "#[path = {:?}]\nmod {name};", folder.join(entry))?;
        }
    }
    let out = env::var_os("OUT_DIR").ok_or("cargo says where generated code goes")?;
    Ok(fs::write(Path::new(&out).join("scenarios.rs"), list)?)
}

//! Generates the list of scenarios: each file of this folder, and each folder with a `mod.rs`, is a module, so
//! that none is left out. Also generates two lists of functions of those modules: `owned` creates the objects of an
//! account for the access tests, and `tour` uses every access pattern of a family.

use std::{env, error::Error, fmt::Write as _, fs, path::Path};

const NO_SCENARIOS: [&str; 2] = ["build.rs", "main.rs"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=.");
    let folder = env::current_dir()?;
    let entries = fs::read_dir(&folder)?.map(|entry| entry.map(|entry| entry.file_name()));
    let mut entries = entries.collect::<Result<Vec<_>, _>>()?;
    entries.sort();
    let (mut list, mut owned, mut tours) = (String::new(), String::new(), String::new());
    for entry in entries.iter().filter_map(|name| name.to_str()) {
        let folders = folder.join(entry).join("mod.rs");
        let (name, module) = if folders.exists() {
            (entry, folders)
        } else if let Some(name) = entry.strip_suffix(".rs").filter(|_| !NO_SCENARIOS.contains(&entry)) {
            (name, folder.join(entry))
        } else {
            continue;
        };
        writeln!(list, "#[path = {module:?}]\nmod {name};")?;
        let text = fs::read_to_string(&module)?;
        if text.contains("pub async fn owned(api: &Api) -> Vec<Owned>") {
            write!(owned, "{name}::owned(api).await, ")?;
        }
        if text.contains("pub async fn tour(api: &Api)") {
            write!(tours, "{name}::tour(api).await; ")?;
        }
    }
    writeln!(list, "async fn owned(api: &scenarios::Api) -> Vec<scenarios::Owned> {{ [{owned}].concat() }}")?;
    writeln!(list, "async fn tours(api: &scenarios::Api) {{ {tours} }}")?;
    let out = env::var_os("OUT_DIR").ok_or("cargo says where generated code goes")?;
    Ok(fs::write(Path::new(&out).join("scenarios.rs"), list)?)
}

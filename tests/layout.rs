//! Where things lie: an engine that knows no family, families that reach the table, functions that reach a family. A rule
//! gives its complaints; another test breaks a copy of the workspace and sees that each rule notices.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
/// What knows no family.
const ENGINE: [&str; 5] = ["aws", "files", "projection", "queues", "table"];
/// Whose ids every family knows.
const COMMON_IDS: [&str; 4] = ["AccountId", "EventId", "SubscriberId", "CustomerId"];

/// A crate of the workspace.
#[derive(Clone, Default)]
struct Crate {
    /// Its crates of the workspace.
    dependencies: BTreeSet<String>,
    /// Its modules by their paths in `src`, without tests and comments.
    modules: BTreeMap<String, String>,
}

#[derive(Clone, Default)]
struct Workspace {
    shared: BTreeMap<String, Crate>,
    families: BTreeMap<String, Crate>,
    functions: BTreeMap<String, Crate>,
    /// The families in the list of all.
    listed: BTreeSet<String>,
}

fn folders(path: &str) -> Vec<String> {
    let entries = std::fs::read_dir(format!("{ROOT}/{path}")).unwrap().map(Result::unwrap);
    let crates = entries.filter(|entry| entry.path().join("Cargo.toml").exists());
    crates.map(|entry| entry.file_name().into_string().unwrap()).collect()
}

/// The code of a module: what the compiler sees without `cfg(test)`.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

fn modules(folder: &Path, within: &str, found: &mut BTreeMap<String, String>) {
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        let path = format!("{within}{name}");
        if entry.path().is_dir() {
            modules(&entry.path(), &format!("{path}/"), found);
        } else if name.ends_with(".rs") && name != "tests.rs" {
            found.insert(path, code(&std::fs::read_to_string(entry.path()).unwrap()));
        }
    }
}

impl Crate {
    fn read(path: &str) -> Self {
        let manifest = std::fs::read_to_string(format!("{ROOT}/{path}/Cargo.toml")).unwrap();
        let used = manifest.split("[dev-dependencies]").next().unwrap_or_default();
        let names = used.lines().filter_map(|line| line.split_once(".workspace = true"));
        let mut read = Self {
            dependencies: names.map(|(name, _)| name.trim().to_owned()).collect(),
            modules: BTreeMap::new(),
        };
        modules(Path::new(&format!("{ROOT}/{path}/src")), "", &mut read.modules);
        read
    }
}

impl Workspace {
    fn read() -> Self {
        let crates = |path: &str| {
            let read = |name: String| (name.clone(), Crate::read(&format!("{path}/{name}")));
            folders(path).into_iter().map(read).collect::<BTreeMap<_, _>>()
        };
        let mut families = crates("shared/families");
        families.remove("all");
        Self {
            shared: crates("shared"),
            families,
            functions: crates("functions"),
            listed: families::ALL.iter().map(|family| family.name.to_owned()).collect(),
        }
    }
}

type Rule = fn(&Workspace) -> Vec<String>;

const RULES: [(&str, Rule); 5] = [
    ("an_engine_names_no_family", an_engine_names_no_family),
    ("a_function_reaches_the_table_through_families", a_function_reaches_the_table_through_families),
    ("a_family_lies_in_its_place", a_family_lies_in_its_place),
    ("dependencies_run_one_way", dependencies_run_one_way),
    ("each_family_is_in_the_list", each_family_is_in_the_list),
];

/// The words of a text that are names.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|letter: char| !letter.is_alphanumeric() && letter != '_')
}

fn an_engine_names_no_family(workspace: &Workspace) -> Vec<String> {
    let mut complaints = Vec::new();
    for (name, engine) in workspace.shared.iter().filter(|(name, _)| ENGINE.contains(&name.as_str())) {
        let others = workspace.families.keys().chain(workspace.functions.keys());
        let known = others.filter(|other| engine.dependencies.contains(*other));
        complaints.extend(known.map(|other| format!("{name} depends on {other}")));
        for (module, text) in &engine.modules {
            let ids = words(text).filter(|word| {
                word.len() > 2 && word.ends_with("Id") && word.starts_with(|first: char| first.is_uppercase())
            });
            let foreign = ids.filter(|id| !COMMON_IDS.contains(id)).collect::<BTreeSet<_>>();
            complaints.extend(foreign.iter().map(|id| format!("{name}/{module} names {id}")));
            if text.contains("EventKind::") {
                complaints.push(format!("{name}/{module} names a kind of event"));
            }
        }
    }
    complaints
}

fn a_function_reaches_the_table_through_families(workspace: &Workspace) -> Vec<String> {
    let mut complaints = Vec::new();
    for (name, function) in &workspace.functions {
        for (module, text) in &function.modules {
            for door in ["patterns::", "Commit::new", "AttributeValue", "impl Entity for"] {
                if text.contains(door) {
                    complaints.push(format!("{name}/{module} reaches the table by {door}"));
                }
            }
        }
    }
    complaints
}

fn a_family_lies_in_its_place(workspace: &Workspace) -> Vec<String> {
    let outside = workspace
        .shared
        .iter()
        .filter(|(name, _)| !["table", "projection"].contains(&name.as_str()))
        .chain(&workspace.functions);
    let mut complaints = Vec::new();
    for (name, other) in outside {
        for (module, text) in &other.modules {
            for part in [" Entity for ", "patterns! {", "Change for ", ": &[Jobs]"] {
                if text.contains(part) {
                    complaints.push(format!("{name}/{module} has what belongs to a family: {part}"));
                }
            }
        }
    }
    for (name, family) in &workspace.families {
        for module in ["lib.rs", "patterns.rs"] {
            if !family.modules.contains_key(module) {
                complaints.push(format!("{name} has no {module}"));
            }
        }
    }
    complaints
}

fn dependencies_run_one_way(workspace: &Workspace) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut forbid = |name: &str, used: &Crate, others: &mut dyn Iterator<Item = &String>| {
        for other in others.filter(|other| used.dependencies.contains(*other)) {
            complaints.push(format!("{name} depends on {other}"));
        }
    };
    let outer = || ["api".to_owned(), "families".to_owned()];
    for (name, family) in &workspace.families {
        forbid(name, family, &mut workspace.functions.keys());
        forbid(name, family, &mut outer().iter());
    }
    for (name, function) in &workspace.functions {
        forbid(name, function, &mut workspace.functions.keys());
    }
    // A request is an account's; other families are the functions' matter.
    if let Some(api) = workspace.shared.get("api") {
        forbid("api", api, &mut workspace.families.keys().filter(|family| *family != "accounts"));
    }
    complaints
}

fn each_family_is_in_the_list(workspace: &Workspace) -> Vec<String> {
    let missing = workspace.families.keys().filter(|family| !workspace.listed.contains(*family));
    missing.map(|family| format!("{family} is not in the list of all families")).collect()
}

#[test]
fn the_workspace_keeps_the_rules() {
    let workspace = Workspace::read();
    let modules =
        |crates: &BTreeMap<String, Crate>| crates.values().map(|one| one.modules.len()).sum::<usize>();
    let count = modules(&workspace.shared) + modules(&workspace.families) + modules(&workspace.functions);
    let complaints: Vec<_> = RULES.iter().flat_map(|(_, rule)| rule(&workspace)).collect();
    assert_eq!(complaints, Vec::<String>::new());
    println!("{count} modules of {} families keep {} rules", workspace.families.len(), RULES.len());
    assert!(count > 150);
}

#[test]
fn each_rule_notices_what_breaks_it() {
    let sound = Workspace::read();
    let broken = |rule: &str, break_it: &dyn Fn(&mut Workspace)| {
        let mut workspace = sound.clone();
        break_it(&mut workspace);
        let (_, rule) = RULES.iter().find(|(name, _)| *name == rule).unwrap();
        assert!(!rule(&workspace).is_empty());
    };
    fn add(crates: &mut BTreeMap<String, Crate>, name: &str, text: &str) {
        crates.get_mut(name).unwrap().modules.insert("more.rs".to_owned(), text.to_owned());
    }
    broken(RULES[0].0, &|all| add(&mut all.shared, "table", "fn of(id: &WaitlistId) {}"));
    broken(RULES[0].0, &|all| add(&mut all.shared, "projection", "EventKind::SubscriberJoined"));
    broken(RULES[0].0, &|all| {
        all.shared.get_mut("projection").unwrap().dependencies.insert("stamps".to_owned());
    });
    broken(RULES[1].0, &|all| add(&mut all.functions, "stamp", "Commit::new(&PATTERN)"));
    broken(RULES[1].0, &|all| add(&mut all.functions, "stamp", "table.get(&stamps::patterns::CARD, &key)"));
    broken(RULES[2].0, &|all| add(&mut all.functions, "stamp", "impl Entity for Card {}"));
    broken(RULES[2].0, &|all| add(&mut all.shared, "api", "impl projection::Change for Card {}"));
    broken(RULES[2].0, &|all| {
        all.families.insert("drops".to_owned(), Crate::default());
    });
    broken(RULES[3].0, &|all| {
        all.families.get_mut("stamps").unwrap().dependencies.insert("stamp".to_owned());
    });
    broken(RULES[3].0, &|all| {
        all.functions.get_mut("stamp").unwrap().dependencies.insert("campaign".to_owned());
    });
    broken(RULES[4].0, &|all| {
        all.families.insert("drops".to_owned(), Crate::default());
    });
}

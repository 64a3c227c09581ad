//! Rules for the dependencies between crates: the engine knows no family, only families reach the table, and
//! functions reach the table through families. A rule returns its violations. Another test breaks a copy of the
//! workspace for each rule and checks that the rule notices.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
/// Crates that know no family.
const ENGINE: [&str; 5] = ["aws", "files", "projection", "queues", "table"];
/// Id types that every family knows.
const COMMON_IDS: [&str; 4] = ["AccountId", "EventId", "SubscriberId", "CustomerId"];

/// Crate of the workspace.
#[derive(Clone, Default)]
struct Crate {
    /// Workspace crates that the crate depends on.
    dependencies: BTreeSet<String>,
    /// Modules by their paths in `src`, without tests and comments.
    modules: BTreeMap<String, String>,
}

#[derive(Clone, Default)]
struct Workspace {
    shared: BTreeMap<String, Crate>,
    families: BTreeMap<String, Crate>,
    functions: BTreeMap<String, Crate>,
    /// Local platform.
    local: BTreeMap<String, Crate>,
    /// Families in the list of all families.
    listed: BTreeSet<String>,
}

fn folders(path: &str) -> Vec<String> {
    let entries = std::fs::read_dir(format!("{ROOT}/{path}")).unwrap().map(Result::unwrap);
    let crates = entries.filter(|entry| entry.path().join("Cargo.toml").exists());
    crates.map(|entry| entry.file_name().into_string().unwrap()).collect()
}

/// Returns the code of a module without `cfg(test)` modules and comments.
fn code(text: &str) -> String {
    let tests = ["#[cfg(test)]\nmod ", "#[cfg(test)]\npub mod "];
    let text = tests.iter().fold(text, |text, tests| text.split(tests).next().unwrap_or_default());
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
        let names = used.lines().filter_map(|line| {
            line.split_once(".workspace = true").or_else(|| line.split_once(" = { path = "))
        });
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
            local: BTreeMap::from([("local".to_owned(), Crate::read("infra/local"))]),
            listed: families::ALL.iter().map(|family| family.name.to_owned()).collect(),
        }
    }
}

type Rule = fn(&Workspace) -> Vec<String>;

const RULES: [(&str, Rule); 6] = [
    ("an_engine_names_no_family", an_engine_names_no_family),
    ("a_function_reaches_the_table_through_families", a_function_reaches_the_table_through_families),
    ("a_family_lies_in_its_place", a_family_lies_in_its_place),
    ("dependencies_run_one_way", dependencies_run_one_way),
    ("each_family_is_in_the_list", each_family_is_in_the_list),
    ("modules_form_no_cycle", modules_form_no_cycle),
];

/// Splits a text into identifiers.
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
            if text.contains("event_kinds! {") {
                complaints.push(format!("{name}/{module} has events of its own"));
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
    for (name, function) in &workspace.functions {
        for (module, text) in &function.modules {
            for part in ["ids! {", "ids_within! {", "event_kinds! {", "problem_kinds! {", ": Area ="] {
                if text.contains(part) {
                    complaints.push(format!("{name}/{module} declares what a family declares: {part}"));
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
    let http = ["axum".to_owned(), "lambda_http".to_owned()];
    let engines = workspace.shared.iter().filter(|(name, _)| *name != "api");
    for (name, other) in engines.chain(&workspace.families) {
        forbid(name, other, &mut http.iter());
    }
    // A request belongs to an account. The other families are used by the functions.
    if let Some(api) = workspace.shared.get("api") {
        forbid("api", api, &mut workspace.families.keys().filter(|family| *family != "accounts"));
    }
    complaints
}

fn each_family_is_in_the_list(workspace: &Workspace) -> Vec<String> {
    let missing = workspace.families.keys().filter(|family| !workspace.listed.contains(*family));
    missing.map(|family| format!("{family} is not in the list of all families")).collect()
}

/// Returns the paths that a use tree names: `a::{b, c::d}` names `a::b` and `a::c::d`.
fn paths(tree: &str) -> Vec<Vec<String>> {
    fn names(text: &str) -> Vec<String> {
        text.split("::").map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect()
    }
    let Some((before, group)) = tree.split_once('{') else {
        return vec![names(tree.split(" as ").next().unwrap_or_default())];
    };
    let group = group.rsplit_once('}').map_or(group, |(group, _)| group);
    let (mut depth, mut parts) = (0, vec![String::new()]);
    for letter in group.chars() {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        parts.last_mut().unwrap().push(letter);
    }
    let inner = parts.iter().filter(|part| !part.trim().is_empty()).flat_map(|part| paths(part));
    inner.map(|path| [names(before), path].concat()).collect()
}

/// Returns the modules of a crate, each with the modules of other files whose names it uses.
fn imports(modules: &BTreeMap<String, String>) -> BTreeMap<Vec<String>, BTreeSet<Vec<String>>> {
    let place = |file: &str| -> Vec<String> {
        let path = file.trim_end_matches(".rs").trim_end_matches("/mod");
        if path == "lib" { Vec::new() } else { path.split('/').map(str::to_owned).collect() }
    };
    let files: BTreeMap<Vec<String>, &String> = modules
        .iter()
        .filter(|(file, _)| *file != "main.rs")
        .map(|(file, text)| (place(file), text))
        .collect();
    let root = files.get(&Vec::new()).map(|text| text.as_str()).unwrap_or_default();
    let passed_on: BTreeMap<String, Vec<String>> = root
        .split(';')
        .filter_map(|statement| Some(statement.split_once("use ")?.1))
        .flat_map(paths)
        .filter_map(|path| {
            let path: Vec<_> = path.into_iter().filter(|name| name != "crate" && name != "self").collect();
            let module = (1..path.len()).rev().find(|len| files.contains_key(&path[..*len]))?;
            Some((path.last()?.clone(), path[..module].to_vec()))
        })
        .collect();
    let mut graph = BTreeMap::new();
    for (module, text) in &files {
        let trees = text.split(';').filter_map(|statement| Some(statement.split_once("use ")?.1));
        let inline = text.split(|letter: char| !letter.is_alphanumeric() && letter != '_' && letter != ':');
        let named = trees
            .flat_map(paths)
            .chain(inline.filter(|path| path.contains("::") && !path.ends_with("::")).flat_map(paths));
        let mut used = BTreeSet::new();
        for path in named {
            let up = path.iter().take_while(|name| *name == "super").count();
            let within = match path.first().map(String::as_str) {
                Some("crate") => path[1..].to_vec(),
                Some("super") => {
                    let base = module.len().saturating_sub(up);
                    [&module[..base], &path[up..]].concat()
                }
                Some("self") => [&module[..], &path[1..]].concat(),
                _ => continue,
            };
            if within.is_empty() {
                continue;
            }
            let known = (0..=within.len()).rev().find(|len| files.contains_key(&within[..*len]));
            let mut target = known.map(|len| within[..len].to_vec()).unwrap_or_default();
            // A name that the root only re-exports belongs to the module that defines it.
            if target.is_empty() && !module.is_empty() {
                let name = within.first().map(String::as_str).unwrap_or_default();
                target = passed_on.get(name).or(passed_on.get("*")).cloned().unwrap_or_default();
            }
            used.extend(Some(target).filter(|target| target != module));
        }
        graph.insert(module.clone(), used);
    }
    graph
}

fn modules_form_no_cycle(workspace: &Workspace) -> Vec<String> {
    let crates = [&workspace.shared, &workspace.families, &workspace.functions, &workspace.local];
    let mut complaints = Vec::new();
    for (name, one) in crates.into_iter().flatten() {
        let mut graph = imports(&one.modules);
        // A module that uses no remaining module is not part of a cycle.
        loop {
            let ends: Vec<_> =
                graph.iter().filter(|(_, used)| used.is_empty()).map(|(module, _)| module.clone()).collect();
            if ends.is_empty() {
                break;
            }
            graph.retain(|module, _| !ends.contains(module));
            graph.values_mut().for_each(|used| used.retain(|module| !ends.contains(module)));
        }
        let left = graph.iter().map(|(module, used)| {
            let used: Vec<_> = used.iter().map(|used| used.join("::")).collect();
            format!("{name}: {} uses {}", module.join("::"), used.join(", "))
        });
        complaints.extend(left);
    }
    complaints
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
    broken(RULES[0].0, &|all| add(&mut all.shared, "projection", "domain::event_kinds! {}"));
    broken(RULES[0].0, &|all| {
        all.shared.get_mut("projection").unwrap().dependencies.insert("stamps".to_owned());
    });
    broken(RULES[1].0, &|all| add(&mut all.functions, "stamp", "Commit::new(&PATTERN)"));
    broken(RULES[1].0, &|all| add(&mut all.functions, "stamp", "table.get(&stamps::patterns::CARD, &key)"));
    broken(RULES[2].0, &|all| add(&mut all.functions, "stamp", "impl Entity for Card {}"));
    broken(RULES[2].0, &|all| add(&mut all.shared, "api", "impl projection::Change for Card {}"));
    broken(RULES[2].0, &|all| add(&mut all.functions, "stamp", "domain::problem_kinds! {}"));
    broken(RULES[2].0, &|all| {
        all.families.insert("drops".to_owned(), Crate::default());
    });
    broken(RULES[3].0, &|all| {
        all.families.get_mut("stamps").unwrap().dependencies.insert("stamp".to_owned());
    });
    broken(RULES[3].0, &|all| {
        all.functions.get_mut("stamp").unwrap().dependencies.insert("campaign".to_owned());
    });
    broken(RULES[3].0, &|all| {
        all.families.get_mut("stamps").unwrap().dependencies.insert("axum".to_owned());
    });
    broken(RULES[4].0, &|all| {
        all.families.insert("drops".to_owned(), Crate::default());
    });
    broken(RULES[5].0, &|all| {
        let modules = &mut all.families.get_mut("stamps").unwrap().modules;
        modules.get_mut("entities.rs").unwrap().push_str("\nuse crate::{patterns, store as kept};\n");
    });
}

#[test]
fn the_imports_of_a_module_are_known() {
    let modules = BTreeMap::from([
        ("a.rs", "use crate::{b, c::{self, d::Thing}};\nfn of() { super::e::of() }"),
        ("b.rs", "use std::fmt;"),
        ("c.rs", ""),
        ("c/d.rs", "use super::Name;"),
        ("e/mod.rs", ""),
    ]);
    let modules = modules.into_iter().map(|(file, text)| (file.to_owned(), text.to_owned())).collect();
    let graph: BTreeMap<_, _> = imports(&modules)
        .into_iter()
        .map(|(module, used)| {
            let used: Vec<_> = used.iter().map(|used| used.join("::")).collect();
            (module.join("::"), used.join(" "))
        })
        .collect();
    let expected = [("a", "b c c::d e"), ("b", ""), ("c", ""), ("c::d", "c"), ("e", "")];
    assert_eq!(graph, expected.map(|(module, used)| (module.to_owned(), used.to_owned())).into());
}

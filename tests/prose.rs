//! Doc comments: the first word names the subject, so that a list of first lines reads as an index.

use std::path::Path;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
const FOLDERS: [&str; 5] = ["bench", "functions", "infra", "shared", "tests"];
/// Words that name no subject.
const NAMELESS: [&str; 13] = [
    "As", "It", "Its", "Of", "That", "This", "Those", "What", "Whatever", "Which", "Who", "Whoever", "Whose",
];

/// The doc comments of a file that begin with a nameless word, each with its line.
fn nameless(file: &str, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut within = false;
    for (number, line) in text.lines().enumerate() {
        let words = line.trim_start().strip_prefix("///").or(line.trim_start().strip_prefix("//!"));
        let first = words.and_then(|words| words.split_whitespace().next());
        if !within && first.is_some_and(|first| NAMELESS.contains(&first.trim_end_matches([',', ':']))) {
            found.push(format!("{file}:{}: {}", number + 1, line.trim()));
        }
        within = words.is_some();
    }
    found
}

fn files(folder: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        let name = entry.file_name();
        if path.is_dir() && name != "node_modules" {
            files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn each_doc_comment_begins_with_a_word_that_names_something() {
    let mut all = Vec::new();
    FOLDERS.iter().for_each(|folder| files(&Path::new(ROOT).join(folder), &mut all));
    let complaints: Vec<_> = all
        .iter()
        .flat_map(|file| nameless(&file.display().to_string(), &std::fs::read_to_string(file).unwrap()))
        .collect();
    assert_eq!(complaints, Vec::<String>::new());
    assert!(all.len() > 300, "only {} files were read", all.len());
    println!("{} files have doc comments that name their subjects", all.len());
}

#[test]
fn a_doc_comment_without_a_subject_is_noticed() {
    for (text, count) in [
        ("/// What a fact is called.\nkind: Kind,", 1),
        ("//! It counts.\n//! Each once.\n", 1),
        ("    /// Those, too.\n    fn f() {}", 1),
        ("/// Name of a fact, and\n/// what it counts.\nkind: Kind,", 0),
        ("// What is left out.\nlet kind = \"/// It\";", 0),
    ] {
        assert_eq!(nameless("x.rs", text).len(), count, "{text}");
    }
}

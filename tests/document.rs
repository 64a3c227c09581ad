//! The OpenAPI document and the templates agree with the code.

use std::collections::{BTreeMap, BTreeSet};

use api::openapi;
use scenarios::{Api, lacks};
use serde_json::Value;

fn current() -> Value {
    serde_json::to_value(openapi::document(groundswell::routes())).unwrap()
}

#[test]
fn a_name_stands_for_one_schema_in_all_families() {
    let mut known = BTreeMap::new();
    for family in groundswell::routes() {
        let document = serde_json::to_value(openapi::document([family])).unwrap();
        for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
            let before = known.entry(name.clone()).or_insert_with(|| schema.clone());
            assert_eq!(before, schema, "two families have a {name}");
        }
    }
}

#[test]
fn kinds_of_events_go_by_their_names() {
    let known = &current()["components"]["schemas"]["EventKind"]["enum"];
    assert_eq!(*known, serde_json::json!(families::event_kinds().map(|kind| kind.name).collect::<Vec<_>>()));
}

#[test]
fn each_problem_has_its_page_and_each_page_its_problem() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/problems");
    let kinds: Vec<_> = api::problems::ALL.iter().copied().chain(families::problems()).collect();
    let named: BTreeSet<_> = kinds.iter().map(|kind| format!("{}.md", kind.slug())).collect();
    assert_eq!(named.len(), kinds.len(), "a page for two problems");
    let pages = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(pages.filter(|name| name != "README.md").collect::<BTreeSet<_>>(), named);
    let list = std::fs::read_to_string(format!("{folder}/README.md")).unwrap();
    for kind in kinds {
        let page = std::fs::read_to_string(format!("{folder}/{}.md", kind.slug())).unwrap();
        let heading = format!("# {}\n\n`{}` · {}\n", kind.title(), kind.uri(), kind.status());
        assert!(page.starts_with(&heading), "{} should begin with:\n{heading}", kind.slug());
        let row = format!("| {} | [{slug}]({slug}.md) |", kind.status(), slug = kind.slug());
        assert!(list.contains(&row), "README.md has no row {row}");
    }
}

/// A schema that others extend must allow additional fields, whatever its name in the extending schema.
#[test]
fn no_answer_forbids_what_it_extends() {
    let document = current();
    let schemas = document["components"]["schemas"].as_object().unwrap();
    let name =
        |schema: &Value| schema["$ref"].as_str().and_then(|at| at.rsplit('/').next()).map(str::to_owned);
    for (extending, schema) in schemas {
        for part in schema["allOf"].as_array().into_iter().flatten() {
            let mut part = part;
            while let Some(extended) = name(part) {
                part = &schemas[&extended];
            }
            assert_ne!(part["additionalProperties"], false, "{extending} extends what forbids that");
        }
    }
}

/// Returns the operations of the document: method, path and access.
pub fn operations() -> Vec<(String, String, String)> {
    let document = current();
    let mut operations = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            if let Some(access) = operation["x-access"].as_str() {
                operations.push((method.to_uppercase(), path.clone(), access.to_owned()));
            } else {
                assert!(operation["responses"].is_null(), "{method} {path} declares no access");
            }
        }
    }
    operations
}

#[tokio::test]
async fn the_served_document_is_the_one_that_the_routes_give() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/openapi.json");
    let text = serde_json::to_string_pretty(&current()).unwrap() + "\n";
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(file, &text).unwrap();
    }
    let kept = std::fs::read_to_string(file).unwrap();
    let differs = kept.lines().zip(text.lines()).find(|(kept, now)| kept != now);
    assert!(kept == text, "docs/openapi.json is of before, run with UPDATE=1: {differs:?}");
    let served = Api::shared().call("GET", "/openapi.json").send().await;
    assert_eq!((served.status.as_u16(), served.header("content-type")), (200, "application/json"));
    assert_eq!(served.json["openapi"], "3.1.0");
}

#[tokio::test]
async fn every_route_is_reached_through_the_gateway() {
    let api = Api::shared();
    for (method, path, access) in operations() {
        let target = format!("/{}", path.replace("{id}", "x").replace("{import_id}", "x"));
        let call = if ["public", "token", "hook"].contains(&access.as_str()) {
            api.call(&method, &target)
        } else {
            api.secret(&method, &target)
        };
        let reply = call.send().await;
        // The gateway answers 404 with this text if the template has no such route.
        assert_ne!(reply.json["detail"], "No route has this path and method.", "{method} {path}");
        assert_ne!(reply.status, 405, "{method} {path}");
    }
}

#[tokio::test]
async fn the_gateway_lets_nobody_through_unasked() {
    // A route without an authorizer in the template would give another answer.
    let api = Api::shared();
    let says_why = !lacks("the authorizer's words in an error of the gateway");
    for (method, path, access) in operations() {
        if ["public", "token", "hook"].contains(&access.as_str()) {
            continue;
        }
        let reply = api
            .call(&method, &format!("/{}", path.replace("{id}", "x").replace("{import_id}", "x")))
            .send()
            .await;
        assert_eq!(reply.status, 401, "{method} {path}");
        if says_why {
            reply.is_problem(401, "unauthorized");
        }
    }
}

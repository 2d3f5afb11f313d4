#![allow(clippy::unwrap_used)]
use super::*;
use crate::api::testing::{House, KEY};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

const METHODS: [&str; 6] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];

fn document() -> Value {
    serde_json::from_str(DOCUMENT).unwrap()
}

/// Path and methods, as the document has them. HEAD goes without saying where GET stands.
fn documented() -> BTreeMap<String, BTreeSet<String>> {
    let document = document();
    let paths = document["paths"].as_object().unwrap().iter();
    let operations = |path: &Value| {
        let known = path.as_object().unwrap().keys().map(|key| key.to_uppercase());
        let mut methods: BTreeSet<String> =
            known.filter(|key| METHODS.contains(&key.as_str())).collect();
        if methods.contains("GET") {
            methods.insert("HEAD".into());
        }
        methods
    };
    paths.map(|(path, what)| (path.clone(), operations(what))).collect()
}

#[test]
fn every_route_stands_in_the_document_and_nothing_else_does() {
    let routes = crate::api::routes().into_iter();
    let methods = |listed: &str| {
        let listed = listed.split(", ").filter(|method| *method != "OPTIONS");
        listed.map(str::to_owned).collect::<BTreeSet<_>>()
    };
    let routes: BTreeMap<_, _> =
        routes.map(|route| (route.path.to_owned(), methods(route.methods))).collect();
    assert_eq!(routes, documented());
}

#[tokio::test]
async fn every_documented_method_is_answered_and_every_other_refused() {
    let house = House::new().await;
    for (path, methods) in documented() {
        let url = path
            .replace("{room}", "bar")
            .replace("{id}", &KEY[..16])
            .replace("{person}", &KEY[..16])
            .replace("{session}", KEY)
            .replace("{seq}", "1");
        let options = house.ask("OPTIONS", &url, &[], "").await;
        assert_eq!(options.status, 204, "{path}");
        let allowed: BTreeSet<_> = options.header("allow").split(", ").collect();
        for method in METHODS {
            let answer = house.ask(method, &url, &[], "").await;
            let known = methods.contains(method);
            assert_eq!(answer.status == 405, !known, "{method} {path}: {}", answer.status);
            assert_eq!(allowed.contains(method), known, "{method} {path}");
            assert_eq!(answer.header("access-control-allow-origin"), "*", "{method} {path}");
        }
        let preflight = options.header("access-control-allow-headers");
        assert!(preflight.contains("Authorization") && preflight.contains("If-Match"), "{path}");
    }
}

#[test]
fn every_reference_leads_somewhere_and_every_operation_has_a_name_of_its_own() {
    let document = document();
    let mut references = Vec::new();
    let mut names = Vec::new();
    walk(&document, &mut |key, value| match (key, value.as_str()) {
        ("$ref", Some(text)) => references.push(text.to_owned()),
        ("operationId", Some(text)) => names.push(text.to_owned()),
        _ => {}
    });
    assert!(references.len() > 100 && names.len() > 25);
    for reference in references {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
    let distinct: BTreeSet<_> = names.iter().collect();
    assert_eq!(distinct.len(), names.len());
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn path_parameters_are_declared() {
    for (path, what) in document()["paths"].as_object().unwrap() {
        let in_path: BTreeSet<_> =
            path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')).collect();
        let none = Vec::new();
        let declared = what["parameters"].as_array().unwrap_or(&none).iter();
        let declared: BTreeSet<_> = declared.map(|p| p["name"].as_str().unwrap()).collect();
        assert_eq!(in_path, declared, "{path}");
    }
}

fn walk(value: &Value, see: &mut impl FnMut(&str, &Value)) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                see(key, value);
                walk(value, see);
            }
        }
        Value::Array(list) => list.iter().for_each(|value| walk(value, see)),
        _ => {}
    }
}

#[tokio::test]
async fn it_is_served_as_json() {
    let answer = House::new().await.ask("GET", "/api/v1/openapi.json", &[], "").await;
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"));
    assert_eq!(answer.json(), document());
}

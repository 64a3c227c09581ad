//! Event patterns of EventBridge rules and of a stream's filters.
//!
//! A pattern is read once, when the platform starts. A pattern that the local platform cannot match as AWS does
//! is refused.

use serde_json::Value;

#[derive(Clone, Debug, PartialEq)]
pub enum Pattern {
    /// Every field matches its pattern.
    Fields(Vec<(String, Pattern)>),
    /// The value, or an element of it if it is a list, matches one of these.
    OneOf(Vec<Wanted>),
}

#[derive(Clone, Debug, PartialEq)]
pub enum Wanted {
    /// String, number or boolean.
    Literal(Value),
    Prefix(String),
    Suffix(String),
}

impl Pattern {
    /// Parses a pattern. An error has the path of the part that cannot be matched, which begins with `path`, and
    /// the reason.
    pub fn parse(path: &str, pattern: &Value) -> Result<Self, (String, String)> {
        match pattern {
            Value::Object(fields) if !fields.is_empty() => {
                let field = |(name, pattern): (&String, &Value)| {
                    Self::parse(&format!("{path}.{name}"), pattern).map(|pattern| (name.clone(), pattern))
                };
                Ok(Self::Fields(fields.iter().map(field).collect::<Result<_, _>>()?))
            }
            Value::Array(wanted) if !wanted.is_empty() => {
                let parse = |wanted: &Value| {
                    let reason = || format!("wants {wanted}, which the local platform can't match");
                    Wanted::parse(wanted).ok_or_else(|| (path.to_owned(), reason()))
                };
                Ok(Self::OneOf(wanted.iter().map(parse).collect::<Result<_, _>>()?))
            }
            other => Err((path.to_owned(), format!("is {other}, and not a list of what is wanted"))),
        }
    }

    pub fn matches(&self, value: &Value) -> bool {
        match (self, value) {
            (Self::Fields(fields), _) => fields.iter().all(|(name, pattern)| pattern.matches(&value[name])),
            (Self::OneOf(wanted), Value::Array(values)) => {
                values.iter().any(|value| wanted.iter().any(|wanted| wanted.is(value)))
            }
            (Self::OneOf(wanted), _) => wanted.iter().any(|wanted| wanted.is(value)),
        }
    }
}

impl Wanted {
    fn parse(wanted: &Value) -> Option<Self> {
        match wanted {
            Value::String(_) | Value::Number(_) | Value::Bool(_) => Some(Self::Literal(wanted.clone())),
            Value::Object(operator) if operator.len() == 1 => {
                let text = |name| operator.get(name).and_then(Value::as_str).map(str::to_owned);
                text("prefix").map(Self::Prefix).or_else(|| text("suffix").map(Self::Suffix))
            }
            // Neither `exists` nor `null` is supported: a missing field looks like a null field here.
            _ => None,
        }
    }

    fn is(&self, value: &Value) -> bool {
        match self {
            Self::Literal(literal) => literal == value,
            Self::Prefix(prefix) => value.as_str().is_some_and(|text| text.starts_with(prefix)),
            Self::Suffix(suffix) => value.as_str().is_some_and(|text| text.ends_with(suffix)),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pattern(pattern: Value) -> Pattern {
        Pattern::parse("Pattern", &pattern).unwrap()
    }

    #[test]
    fn every_field_is_one_of_what_is_wanted() {
        let removed =
            json!({ "eventName": ["REMOVE"], "dynamodb": { "OldImage": { "_type": { "S": ["a", "b"] } } } });
        let removed = pattern(removed);
        let record = |name: &str, kind: &str| json!({ "eventName": name, "dynamodb": { "OldImage": { "_type": { "S": kind } } } });
        assert!(removed.matches(&record("REMOVE", "b")));
        assert!(!removed.matches(&record("REMOVE", "c")));
        assert!(!removed.matches(&record("INSERT", "a")));
        assert!(!removed.matches(&json!({ "eventName": "REMOVE" })));
    }

    #[test]
    fn text_may_begin_or_end_as_wanted_and_lists_have_one_that_is() {
        let key = pattern(json!({ "key": ["exact", { "prefix": "imports/" }, { "suffix": ".csv" }] }));
        for (value, matches) in [
            ("exact", true),
            ("imports/x", true),
            ("other/x.csv", true),
            ("exactly", false),
            ("x/imports/", false),
            ("", false),
        ] {
            assert_eq!(key.matches(&json!({ "key": value })), matches, "{value}");
        }
        let resources = pattern(json!({ "resources": ["arn:b"] }));
        assert!(resources.matches(&json!({ "resources": ["arn:a", "arn:b"] })));
        assert!(!resources.matches(&json!({ "resources": ["arn:a"] })));
    }

    #[test]
    fn what_cannot_be_matched_is_no_pattern() {
        for (detail, path, reason) in [
            (json!({ "key": [{ "anything-but": "x" }] }), "Pattern.detail.key", "wants {\"anything-but\""),
            (json!({ "key": [{ "prefix": { "equals-ignore-case": "x" } }] }), "Pattern.detail.key", "wants"),
            (json!({ "key": [null] }), "Pattern.detail.key", "wants null"),
            (json!({ "key": [] }), "Pattern.detail.key", "is []"),
            (json!({ "key": "x" }), "Pattern.detail.key", "is \"x\", and not a list"),
            (json!({ "$or": [{ "key": ["x"] }] }), "Pattern.detail.$or", "wants {\"key\""),
            (json!({}), "Pattern.detail", "is {}"),
        ] {
            let (at, why) = Pattern::parse("Pattern", &json!({ "detail": detail })).unwrap_err();
            assert_eq!(at, path);
            assert!(why.starts_with(reason), "{why}");
        }
    }
}

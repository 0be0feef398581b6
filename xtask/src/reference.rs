//! `docs/api.md`: the API's reference for people, made from the OpenAPI document and the table of error codes.

use crate::Files;
use api::ErrorCode;
use serde_json::{Map, Value};
use std::error::Error;
use std::fmt::Write as _;
use std::path::PathBuf;

const PATH: &str = "docs/api.md";
const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];
const BASE: &str = "/api/v1";

/// What stands before the routes.
const HEAD: &str = "# The REST API

Made from the OpenAPI document ([openapi/openapi.json](../openapi/openapi.json)) by `cargo xtask generate`; a hub serves both
as `/api/v1/openapi.json` and, to read in a browser without a network, `/api/v1/docs`. All paths below begin with `/api/v1`.

```sh
hub=https://hub.example:8082/api/v1
token=$(curl -s --cacert hub.pem \"$hub/auth/login\" -d @login.json | jq -r .token)   # {\"username\": …, \"password\": …}
curl -s --cacert hub.pem -H \"Authorization: Bearer $token\" \"$hub/backups?vm_name=web\" | jq '.backups[0].id'
curl -s --unix-socket /var/lib/sendense/hub.sock http://localhost/api/v1/health       # on the hub's machine
```

- **Who asks**: `Authorization: Bearer TOKEN`, of a login or an API token. At the hub's own Unix socket its user and root need none.
  Each route has the least role that it needs: `viewer`, `restorer`, `operator`, `admin`, each of which may what those before it may.
- **Bodies** are JSON, at most 1 MiB. A field that does not exist is refused, with its name.
- **Numbers**: sizes are bytes, durations seconds, times RFC 3339 in UTC. Ids are texts.
- **Lists** take `limit` (100 unless given, at most 1000) and `offset`, are newest first, and say how many match as `total`.
- **Success** is 200, 201 (made) or 202 (a job was accepted: its events, its state or its row in `/jobs` say how it goes).
- **Everything else** has the body `{\"success\": false, \"error\": \"for a person\", \"code\": \"stable_word\", \"hint\": \"what to do next\",
  \"details\": {…}}`.
- **Streams**: routes that end in `/events` are server-sent events; searches and comparisons by POST answer a JSON object a line.
- `X-Request-Id` of a request comes back, and stands in the hub's log and audit log; where there is none the hub makes one.
  Answers are compressed where the client accepts gzip or zstd.
";

/// The one file.
pub(crate) fn files() -> Result<Files, Box<dyn Error>> {
    Ok(vec![(PathBuf::from(PATH), reference(&serde_json::from_str(&server::document()?)?)?)])
}

/// The whole text.
fn reference(document: &Value) -> Result<String, Box<dyn Error>> {
    let mut text = HEAD.to_owned();
    codes(&mut text)?;
    for tag in document["tags"].as_array().ok_or("the document has no tags")? {
        let name = word(&tag["name"]);
        writeln!(text, "\n## {}\n\n{}.", capital(name), word(&tag["description"]))?;
        for (path, item) in object(&document["paths"])? {
            for method in METHODS {
                let operation = &item[method];
                if operation["tags"].as_array().is_some_and(|tags| tags.iter().any(|tag| tag == name)) {
                    route(&mut text, method, path, operation)?;
                }
            }
        }
    }
    text.push_str("\n## Shapes\n");
    for (name, schema) in object(&document["components"]["schemas"])? {
        shape(&mut text, name, schema)?;
    }
    Ok(text)
}

fn codes(text: &mut String) -> Result<(), Box<dyn Error>> {
    text.push_str("\n## Error codes\n\n| code | status | exit code of a command |\n| --- | --- | --- |\n");
    for code in ErrorCode::ALL {
        writeln!(text, "| `{}` | {} | {} |", code.as_str(), code.http_status(), code.exit_code())?;
    }
    Ok(())
}

fn route(text: &mut String, method: &str, path: &str, operation: &Value) -> Result<(), Box<dyn Error>> {
    let path = path.strip_prefix(BASE).unwrap_or(path);
    writeln!(text, "\n### {} {path}\n", method.to_uppercase())?;
    let role = match operation["x-role"].as_str() {
        Some(role) => format!("Role: `{role}`."),
        None => "Needs no credentials.".to_owned(),
    };
    writeln!(text, "{}. {role}", word(&operation["summary"]))?;
    if let Some(description) = operation["description"].as_str() {
        writeln!(text, "\n{}", paragraph(description))?;
    }
    let parameters = operation["parameters"].as_array().map(Vec::as_slice).unwrap_or_default();
    if !parameters.is_empty() {
        text.push_str("\n| parameter | | |\n| --- | --- | --- |\n");
        for parameter in parameters {
            let needed = if parameter["required"] == true { ", required" } else { "" };
            let kind = kind(&parameter["schema"]);
            let about = cell(&parameter["description"]);
            writeln!(
                text,
                "| `{}` | {}, {kind}{needed} | {about} |",
                word(&parameter["name"]),
                word(&parameter["in"])
            )?;
        }
    }
    let body = &operation["requestBody"];
    if let Some((media, content)) = first(&body["content"]) {
        let optional = if body["required"] == true { "" } else { ", may be left out" };
        writeln!(text, "\nBody: {} (`{media}`{optional})", kind(&content["schema"]))?;
    }
    let mut answers = Vec::new();
    for (status, answer) in object(&operation["responses"])? {
        // The same everywhere: said at the beginning.
        if status.ends_with("XX") {
            continue;
        }
        let shape = match first(&answer["content"]) {
            Some((media, content)) if media == "application/json" => kind(&content["schema"]),
            _ => media_types(&answer["content"]),
        };
        let about = cell(&answer["description"]);
        answers.push(match (shape.is_empty(), about.is_empty()) {
            (true, _) => format!("{status}: {about}"),
            (_, true) => format!("{status}: {shape}"),
            _ => format!("{status}: {shape}, {}", lower(&about)),
        });
    }
    if !answers.is_empty() {
        writeln!(text, "\nAnswers: {}", answers.join("; "))?;
    }
    Ok(())
}

fn shape(text: &mut String, name: &str, schema: &Value) -> Result<(), Box<dyn Error>> {
    writeln!(text, "\n### {name}\n")?;
    if let Some(description) = schema["description"].as_str() {
        writeln!(text, "{}\n", paragraph(description))?;
    }
    let mut parts = vec![schema];
    parts.extend(schema["allOf"].as_array().into_iter().flatten());
    let mut fields: Vec<(&String, &Value, bool)> = Vec::new();
    let mut also = Vec::new();
    for part in parts {
        if part["$ref"].is_string() {
            also.push(kind(part));
        }
        let required = part["required"].as_array().cloned().unwrap_or_default();
        let properties = part["properties"].as_object().into_iter().flatten();
        fields.extend(properties.map(|(name, field)| (name, field, required.iter().any(|one| one == name))));
    }
    if !also.is_empty() {
        writeln!(text, "All of {}, and:\n", also.join(", "))?;
    }
    if fields.is_empty() {
        if also.is_empty() {
            writeln!(text, "{}", kind(schema))?;
        }
        return Ok(());
    }
    text.push_str("| field | | |\n| --- | --- | --- |\n");
    for (name, field, required) in fields {
        let needed = if required { "" } else { ", may be missing" };
        writeln!(text, "| `{name}` | {}{needed} | {} |", kind(field), description(field))?;
    }
    Ok(())
}

/// What a schema is, in a few words: a link where it has a name.
fn kind(schema: &Value) -> String {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.rsplit('/').next().unwrap_or(reference);
        return format!("[{name}](#{})", name.to_lowercase());
    }
    for together in ["oneOf", "anyOf", "allOf"] {
        if let Some(parts) = schema[together].as_array() {
            let mut words: Vec<String> = Vec::new();
            for part in parts {
                let word = kind(part);
                if !words.contains(&word) {
                    words.push(word);
                }
            }
            return words.join(" or ");
        }
    }
    if let Some(words) = schema["enum"].as_array() {
        let words: Vec<String> = words.iter().map(|word| format!("`{}`", plain(word))).collect();
        return words.join(" or ");
    }
    if !schema["const"].is_null() {
        return format!("`{}`", plain(&schema["const"]));
    }
    let types: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let words: Vec<String> = types
        .iter()
        .map(|one| match *one {
            "array" => format!("list of {}", kind(&schema["items"])),
            "object" if schema["additionalProperties"].is_object() => {
                format!("object of {}", kind(&schema["additionalProperties"]))
            }
            "string" if schema["format"] == "date-time" => "time".to_owned(),
            "string" => "text".to_owned(),
            "integer" => "integer".to_owned(),
            other => other.to_owned(),
        })
        .collect();
    if words.is_empty() { "anything".to_owned() } else { words.join(" or ") }
}

/// Of a field, which may have it beside a reference.
fn description(field: &Value) -> String {
    if field["description"].is_string() {
        return cell(&field["description"]);
    }
    let parts =
        ["oneOf", "anyOf", "allOf"].iter().filter_map(|together| field[*together].as_array()).flatten();
    parts.map(|part| cell(&part["description"])).find(|text| !text.is_empty()).unwrap_or_default()
}

fn object(value: &Value) -> Result<&Map<String, Value>, Box<dyn Error>> {
    value.as_object().ok_or_else(|| format!("no object: {value}").into())
}

fn first(content: &Value) -> Option<(&String, &Value)> {
    content.as_object()?.iter().next()
}

/// In the order of their names, whichever the document's is.
fn media_types(content: &Value) -> String {
    let mut names: Vec<String> =
        content.as_object().into_iter().flatten().map(|(media, _)| format!("`{media}`")).collect();
    names.sort();
    names.join(" or ")
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// In one line, for a table.
fn cell(value: &Value) -> String {
    paragraph(word(value)).replace('|', "\\|")
}

/// Doc comments are broken where the source was.
fn paragraph(text: &str) -> String {
    text.split("\n\n")
        .map(|part| part.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect::<Vec<_>>()
        .join("\n\n")
}

fn capital(text: &str) -> String {
    let mut characters = text.chars();
    characters
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().collect::<String>() + characters.as_str())
}

fn lower(text: &str) -> String {
    let mut characters = text.chars();
    characters
        .next()
        .map_or_else(String::new, |first| first.to_lowercase().collect::<String>() + characters.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_checked_in_reference_is_what_the_document_says() {
        for (path, text) in files().unwrap() {
            let kept = std::fs::read_to_string(crate::root().join(&path)).unwrap_or_default();
            assert!(kept == text, "{} is not up to date: run cargo xtask generate api", path.display());
        }
    }

    #[test]
    fn every_link_leads_to_a_heading_and_every_route_is_there() {
        let document: Value = serde_json::from_str(&server::document().unwrap()).unwrap();
        let text = reference(&document).unwrap();
        let headings: BTreeSet<String> = text
            .lines()
            .filter_map(|line| line.strip_prefix("### "))
            .map(|heading| heading.to_lowercase())
            .collect();
        for link in text.split("](#").skip(1) {
            let target = link.split(')').next().unwrap();
            assert!(headings.contains(target), "{target}");
        }
        for (path, item) in document["paths"].as_object().unwrap() {
            for method in item.as_object().unwrap().keys().filter(|key| METHODS.contains(&key.as_str())) {
                let heading = format!("{method} {}", path.strip_prefix(BASE).unwrap()).to_lowercase();
                assert!(headings.contains(&heading), "{heading}");
            }
        }
    }
}

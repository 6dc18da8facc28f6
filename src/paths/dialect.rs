//! Templates as people write them for the frameworks that they know.
//!
//! What is clear becomes our own syntax; what could mean two things is refused with both spellings.
//! Only text that people write comes here: flags and lists, no document and no name of another
//! sidecar.

use crate::paths::template::{Template, TemplateError};

/// Reads a template in the syntax of `OpenAPI`, Express, Rails, Flask, Django, Spring, JAX-RS, Go,
/// Rocket, axum or ASP.NET.
///
/// # Errors
///
/// [`TemplateError`], with the spelling that is probably meant.
pub(crate) fn read(text: &str) -> Result<Template, TemplateError> {
    let refused = |hint: &str| TemplateError::Dialect(text.to_owned(), hint.to_owned());
    let path = without_anchors(text);
    let mut out = String::with_capacity(path.len());
    for (number, segment) in segments(&path).into_iter().enumerate() {
        if number > 0 {
            out.push('/');
        }
        out.push_str(&self::segment(segment).map_err(|hint| refused(&hint))?);
    }
    out.parse()
}

/// Django's expressions begin with `^`, mostly without a slash, and end with `$`.
fn without_anchors(text: &str) -> String {
    match text.strip_prefix('^') {
        Some(rest) => {
            let rest = rest.strip_suffix('$').unwrap_or(rest);
            let slash = if rest.starts_with('/') { "" } else { "/" };
            format!("{slash}{rest}")
        }
        None => text.to_owned(),
    }
}

/// The segments; a slash within brackets belongs to an expression.
fn segments(path: &str) -> Vec<&str> {
    let mut depth = 0_usize;
    let is_end = |c: char| {
        match c {
            '(' | '[' | '{' | '<' => depth += 1,
            ')' | ']' | '}' | '>' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == '/' && depth == 0
    };
    path.split(is_end).collect()
}

/// One segment in our own syntax, or a hint what to write instead.
fn segment(segment: &str) -> Result<String, String> {
    match segment {
        "*" => return Err("`*` may be one segment or many; write {id} or {*rest}".to_owned()),
        "**" => return Ok("{*rest}".to_owned()),
        _ => {}
    }
    // Rails, Express 5, Play: the rest of the path.
    if let Some(name) = segment.strip_prefix('*').filter(|name| is_name(name)) {
        return Ok(format!("{{*{name}}}"));
    }
    let mut out = String::with_capacity(segment.len());
    let mut rest = segment;
    while let Some(c) = rest.chars().next() {
        let (parameter, after) = match c {
            '<' => angle(rest)?,
            '{' => brace(rest)?,
            '(' if rest.starts_with("(?P<") || rest.starts_with("(?<") => group(rest)?,
            // Behind the beginning a colon is a verb of Google's: /v1/books:batchGet.
            ':' if out.is_empty() || out.ends_with(['}', '-', '.']) && segment.starts_with(':') => {
                colon(rest)?
            }
            _ => {
                out.push(c);
                rest = rest.get(c.len_utf8()..).unwrap_or("");
                continue;
            }
        };
        out.push_str(&parameter);
        rest = after;
    }
    Ok(out)
}

/// `<id>`, `<int:id>`, `<path:rest>` (Flask, Django); `<rest..>` (Rocket).
fn angle(text: &str) -> Result<(String, &str), String> {
    let (inner, after) = bracketed(text, '<', '>').ok_or("a `<` is not closed; write {id}")?;
    let (converter, name) = inner.rsplit_once(':').unwrap_or(("", inner));
    match name.strip_suffix("..") {
        Some(name) => parameter(name, true, after),
        None => parameter(name, converter.split('(').next() == Some("path"), after),
    }
}

/// `{id:[0-9]+}` (Spring, JAX-RS), `{id:int}` (ASP.NET), `{rest...}` (Go), `{**rest}` (ASP.NET).
fn brace(text: &str) -> Result<(String, &str), String> {
    let Some((inner, after)) = bracketed(text, '{', '}') else {
        // Our own parser tells what is wrong with it.
        return Ok((text.to_owned(), ""));
    };
    if inner.ends_with('?') {
        return Err(format!(
            "`{{{inner}}}` may be missing; write two templates, with it and without"
        ));
    }
    let (name, pattern) = inner.split_once(':').unwrap_or((inner, ""));
    let (name, pattern) = (name.trim(), pattern.trim());
    if name == "$" {
        // Go: nothing more may follow.
        return Ok((String::new(), after));
    }
    if let Some(name) = name.strip_prefix("**") {
        return parameter(name, true, after);
    }
    match name.strip_suffix("...") {
        Some(name) => parameter(name, true, after),
        None if pattern.is_empty() => Ok((format!("{{{name}}}"), after)),
        None => parameter(name, crosses_slashes(pattern), after),
    }
}

/// `(?P<id>\d+)`, `(?<id>[^/]+)`: expressions with names (Django, Rails).
fn group(text: &str) -> Result<(String, &str), String> {
    let (inner, after) = bracketed(text, '(', ')').ok_or("a `(` is not closed; write {id}")?;
    let inner = inner.trim_start_matches("?P<").trim_start_matches("?<");
    let (name, pattern) = inner.split_once('>').ok_or("a group without a name; write {id}")?;
    if after.starts_with('?') {
        return Err("a part that may be missing; write two templates, with it and without".into());
    }
    parameter(name, crosses_slashes(pattern), after)
}

/// `:id`, `:id(\d+)` (Express, Rails, Sinatra, older axum).
fn colon(text: &str) -> Result<(String, &str), String> {
    let rest = text.trim_start_matches(':');
    let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len());
    let (name, after) = rest.split_at_checked(end).unwrap_or((rest, ""));
    if name.is_empty() {
        return Ok((":".to_owned(), rest));
    }
    let (pattern, after) = bracketed(after, '(', ')').unwrap_or(("", after));
    match after.chars().next() {
        Some('?') => Err(format!("`:{name}?` may be missing; write two templates")),
        Some('*' | '+') => parameter(name, true, after.get(1..).unwrap_or("")),
        _ => parameter(name, crosses_slashes(pattern), after),
    }
}

/// Whether an expression takes slashes, too: it has a dot that stands for anything.
fn crosses_slashes(pattern: &str) -> bool {
    [".*", ".+"].iter().any(|any| pattern.contains(any)) && !pattern.contains("\\.")
}

fn parameter<'a>(name: &str, is_rest: bool, after: &'a str) -> Result<(String, &'a str), String> {
    if !is_name(name) {
        return Err(format!("`{name}` is no name of a parameter; write {{id}}"));
    }
    Ok((if is_rest { format!("{{*{name}}}") } else { format!("{{{name}}}") }, after))
}

fn is_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    !name.is_empty() && name.chars().all(allowed)
}

/// What stands between the bracket at the beginning and the one that closes it, and the rest.
fn bracketed(text: &str, open: char, close: char) -> Option<(&str, &str)> {
    let inner = text.strip_prefix(open)?;
    let mut depth = 1_usize;
    let end = inner.find(|c: char| {
        if c == open {
            depth += 1;
        } else if c == close {
            depth -= 1;
        }
        depth == 0
    })?;
    let (inner, rest) = inner.split_at_checked(end)?;
    Some((inner, rest.strip_prefix(close)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_frameworks_write_is_understood() {
        for (written, meant) in [
            ("/users/{id}", "/users/{id}"),
            ("/files/{*rest}", "/files/{*rest}"),
            ("/", "/"),
            // Express, Rails, Sinatra
            ("/users/:id", "/users/{id}"),
            ("/users/:id/posts/:post_id", "/users/{id}/posts/{post_id}"),
            ("/flights/:from-:to", "/flights/{from}-{to}"),
            ("/users/:id(\\d+)", "/users/{id}"),
            ("/files/:rest*", "/files/{*rest}"),
            ("/files/*path", "/files/{*path}"),
            // Flask, Django, Rocket
            ("/users/<id>", "/users/{id}"),
            ("/users/<int:id>", "/users/{id}"),
            ("/users/<string(length=2):code>/x", "/users/{code}/x"),
            ("/files/<path:rest>", "/files/{*rest}"),
            ("/v<int:major>/x", "/v{major}/x"),
            ("/files/<rest..>", "/files/{*rest}"),
            ("^users/(?P<id>[0-9]+)/$", "/users/{id}/"),
            ("/users/(?P<id>\\d+)", "/users/{id}"),
            ("/files/(?P<rest>.*)", "/files/{*rest}"),
            ("/a/(?<id>[^/]+)/b", "/a/{id}/b"),
            // Spring, JAX-RS, ASP.NET, Go
            ("/users/{id:[0-9]+}", "/users/{id}"),
            ("/users/{id: [0-9]{2}}", "/users/{id}"),
            ("/users/{id:int}", "/users/{id}"),
            ("/files/{rest:.*}", "/files/{*rest}"),
            ("/files/{**rest}", "/files/{*rest}"),
            ("/files/{rest...}", "/files/{*rest}"),
            ("/files/**", "/files/{*rest}"),
            ("/posts/{$}", "/posts/"),
            // Literals that look alike
            ("/v1/books:batchGet", "/v1/books:batchGet"),
            ("/v1/{name}:cancel", "/v1/{name}:cancel"),
            ("/wiki/Rust_(language)", "/wiki/Rust_(language)"),
        ] {
            assert_eq!(read(written).map(|t| t.to_string()), Ok(meant.to_owned()), "{written}");
        }
    }

    #[test]
    fn what_may_mean_two_things_is_refused_with_the_right_spelling() {
        for (written, hint) in [
            ("/users/*", "write {id} or {*rest}"),
            ("/users/:id?", "write two templates"),
            ("/users/{id?}", "write two templates"),
            ("/users/(?P<id>\\d+)?", "write two templates"),
            ("/users/<int:id", "write {id}"),
            ("/users/<>", "write {id}"),
            ("/files/<path:rest>/edit", "must be the last segment"),
            ("users/:id", "must begin with `/`"),
        ] {
            let error = read(written).expect_err(written).to_string();
            assert!(error.contains(hint), "{written}: {error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_template_or_an_error(
            text in "[/:*<>{}()?$^\\[\\]a-zP.|+ ]{0,30}|\\PC{0,30}",
        ) {
            // What is understood stays as it is when it is read again.
            if let Ok(template) = read(&text) {
                prop_assert_eq!(read(template.as_str()), Ok(template));
            }
        }
    }
}

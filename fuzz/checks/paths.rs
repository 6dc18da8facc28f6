//! Any path gets a short, plain name; a path that a template was made from matches it.

use std::sync::OnceLock;

use redcar::paths::{MAX_LABEL_BYTES, Name, Namer, Template};

static NAMER: OnceLock<Namer> = OnceLock::new();

fn namer() -> &'static Namer {
    NAMER.get_or_init(|| {
        let templates =
            ["/users/{id}", "/users/me", "/files/{*rest}", "/c/{base}...{head}", "/{a}/x/{b}"];
        let templates: Vec<Template> = templates.iter().map(|t| t.parse().unwrap()).collect();
        Namer::new(&templates).unwrap()
    })
}

/// Panics if that does not hold for these bytes.
pub(crate) fn check(path: &str) {
    let mut scratch = String::new();
    if let Name::Detected(name) = namer().name(path, &mut scratch) {
        assert!(name.len() <= MAX_LABEL_BYTES);
        assert!(name.starts_with('/') || name == "*");
        assert!(name.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\'));
    }
    if let Ok(template) = path.parse::<Template>() {
        let namer = Namer::new(&[template]).unwrap();
        let concrete = path.replace(['{', '}', '*'], "");
        let _ = namer.name(&concrete, &mut scratch);
    }
}

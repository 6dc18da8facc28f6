//! Rules about the code itself, which no compiler holds.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking; clippy.toml allows it in test functions only"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use redcar::config::TIME_FLAGS;
use redcar::http::{HeadError, RequestError};
use redcar::metrics::{CATALOGUE, ErrorToken, FLASK, OTEL};
use redcar::net::HandshakeError;
use redcar::proxy::ProxyError;
use tokio_rustls::rustls;

/// Which rooms a room may use, beside itself. `net` knows no HTTP, `http` has no I/O, no clock and no
/// await, `metrics` knows no request and no socket; `proxy` and `admin` do not know each other.
const ROOMS: &[(&str, &[&str])] = &[
    ("paths", &[]),
    ("http", &[]),
    ("net", &[]),
    ("shutdown", &[]),
    ("metrics", &["paths"]),
    ("config", &["paths", "http", "net", "metrics"]),
    ("names", &["paths", "net", "metrics", "config"]),
    ("logs", &["http", "config"]),
    ("proxy", &["paths", "http", "net", "shutdown", "metrics", "config", "logs"]),
    ("admin", &["paths", "net", "shutdown", "metrics", "config"]),
    (
        "server",
        &["paths", "net", "shutdown", "metrics", "config", "names", "logs", "proxy", "admin"],
    ),
];

/// Modules of the program, not of the library: they may import all of it.
const PROGRAM: &[&str] = &["main", "cli"];

const MAX_COLUMNS: usize = 100;

struct Source {
    /// Relative to the package.
    path: String,
    /// The room it belongs to.
    room: String,
    text: String,
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn files(below: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![root().join(below)];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let relative = path.strip_prefix(root()).unwrap();
                found.push(relative.to_str().unwrap().to_owned());
            }
        }
    }
    found.sort_unstable();
    found
}

fn sources() -> Vec<Source> {
    let source = |path: String| {
        let inside = path.strip_prefix("src/").unwrap();
        let room = inside.split(['/', '.']).next().unwrap().to_owned();
        Source { room, text: read(&path), path }
    };
    files("src").into_iter().map(source).collect()
}

/// Rooms that a text names: of `use crate::x::y`, `use crate::{x, z}` and `crate::x::y`.
fn imports(text: &str) -> Vec<String> {
    let code: String = text.lines().filter(|l| !l.trim_start().starts_with("//")).collect();
    let mut found = Vec::new();
    for after in code.split("crate::").skip(1) {
        let group = after.strip_prefix('{').and_then(|rest| rest.split(';').next());
        let names: Vec<&str> = match group {
            Some(group) => group.split(',').collect(),
            None => vec![after],
        };
        for name in names {
            let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let name = name.trim_start();
            let end = name.find(|c| !is_part(c)).unwrap_or(name.len());
            let (name, rest) = name.split_at(end);
            // What begins with a capital is an item of the root.
            if !name.is_empty() && name.starts_with(|c: char| c.is_ascii_lowercase()) {
                let is_alone = rest.is_empty() || rest.starts_with([':', ';', ',', '}', ' ']);
                assert!(is_alone, "an import this test does not understand: {name}{rest:.20}");
                found.push(name.to_owned());
            }
        }
    }
    found
}

#[test]
fn a_room_uses_only_the_rooms_it_may() {
    let mut faults = Vec::new();
    for source in sources() {
        if source.room == "lib" || PROGRAM.contains(&&*source.room) {
            continue;
        }
        let Some((_, allowed)) = ROOMS.iter().find(|(room, _)| *room == source.room) else {
            faults.push(format!("{} is in no room", source.path));
            continue;
        };
        for import in imports(&source.text) {
            if import != source.room && !allowed.contains(&&*import) {
                faults.push(format!("{} uses {import}", source.path));
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn the_rooms_are_the_modules_of_the_library_and_its_documentation_names_each() {
    let lib = read("src/lib.rs");
    let mut declared: Vec<_> =
        lib.lines().filter_map(|line| line.split_once("mod ")?.1.strip_suffix(';')).collect();
    let documented = lib.split("# Rooms").nth(1).unwrap().split("//! # ").next().unwrap();
    let mut named: Vec<_> =
        documented.split("[`").skip(1).map(|l| l.split('`').next().unwrap()).collect();
    let mut rooms: Vec<_> = ROOMS.iter().map(|(room, _)| *room).collect();
    declared.sort_unstable();
    named.sort_unstable();
    rooms.sort_unstable();
    assert_eq!(declared, rooms);
    assert_eq!(named, rooms);
}

#[test]
fn lines_fit_a_screen() {
    let mut long = Vec::new();
    for source in sources() {
        for (index, line) in source.text.lines().enumerate() {
            // A sentence for users is not broken by the width of a source file.
            let is_text = line.trim_start().starts_with(['"', '#']) && line.contains('"');
            if line.chars().count() > MAX_COLUMNS && !is_text {
                long.push(format!("{}:{}", source.path, index + 1));
            }
        }
    }
    assert!(long.is_empty(), "over {MAX_COLUMNS} columns: {long:#?}");
}

#[test]
fn modules_have_names_that_say_something() {
    let vague = ["mod", "util", "utils", "common", "helper", "helpers", "misc", "manager"];
    for path in files("src").into_iter().chain(files("tests")) {
        for part in Path::new(&path).iter().map(|part| part.to_str().unwrap()) {
            let name = part.trim_end_matches(".rs");
            assert!(!vague.contains(&name), "{path}");
        }
    }
}

#[test]
fn nothing_is_left_for_later() {
    let marks =
        [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X:"), concat!("HA", "CK")];
    let paths = ["src", "tests", "benches"].map(files).concat();
    for path in paths {
        let text = read(&path);
        for mark in marks {
            assert!(!text.contains(mark), "{mark} in {path}");
        }
    }
}

#[test]
fn no_test_is_switched_off() {
    for path in files("src").into_iter().chain(files("tests")) {
        let text = read(&path);
        for switch in [concat!("#[igno", "re"), concat!("#[should_", "panic")] {
            assert!(!text.contains(switch), "{switch} in {path}");
        }
    }
}

#[test]
fn the_documented_metrics_are_the_catalogue() {
    let page = read("docs/metrics.md");
    let kinds = ["counter", "gauge", "histogram"];
    let mut documented = BTreeMap::new();
    for line in page.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
        let name = cells[0].trim_matches('`');
        // Other tables of that page have other columns.
        let is_metric = cells.get(1).is_some_and(|kind| kinds.contains(kind));
        if cells.len() == 4 && is_metric {
            let before =
                documented.insert(name.to_owned(), (cells[1].to_owned(), cells[3].to_owned()));
            assert!(before.is_none(), "{name} is documented twice");
        }
    }
    let known: BTreeMap<_, _> = [CATALOGUE, FLASK, OTEL]
        .concat()
        .iter()
        .map(|family| {
            (family.name.to_owned(), (family.kind.as_str().to_owned(), family.help.to_owned()))
        })
        .collect();
    assert_eq!(documented, known);
}

/// One of each kind of failure that is answered here.
fn failures() -> Vec<ProxyError> {
    let io = || std::io::Error::other("a test");
    let tls = || rustls::Error::HandshakeNotComplete;
    let request = [
        RequestError::HostMissing,
        RequestError::HostRepeated,
        RequestError::HostInvalid,
        RequestError::TargetInvalid,
        RequestError::FieldInvalid,
        RequestError::LengthInvalid,
        RequestError::TrailersTooLarge,
        RequestError::ConnectUnsupported,
    ];
    let mut failures = vec![
        ProxyError::ConnectionRefused(io()),
        ProxyError::ConnectionTerminated(io()),
        ProxyError::ConnectionTimeout,
        ProxyError::ConnectionLimitReached(io()),
        ProxyError::Dns(io()),
        ProxyError::DestinationUnavailable(io()),
        ProxyError::Tls(HandshakeError::Protocol(tls())),
        ProxyError::Tls(HandshakeError::Certificate(tls())),
        ProxyError::Tls(HandshakeError::Alert(rustls::AlertDescription::AccessDenied)),
        ProxyError::ResponseIncomplete(io()),
        ProxyError::Protocol("a test"),
        ProxyError::ResponseTimeout,
        ProxyError::UpgradeFailed,
        ProxyError::DownstreamBody,
        ProxyError::DownstreamAborted,
    ];
    failures.extend(request.map(ProxyError::Request));
    failures
}

#[test]
fn the_documented_errors_are_those_of_the_program() {
    let page = read("docs/metrics.md");
    let table = page.split("| error | status | who failed |").nth(1).unwrap();
    let rows = table.lines().skip(2).map_while(|line| line.strip_prefix("| `"));
    let rows: BTreeMap<_, _> = rows
        .map(|row| {
            let mut cells = row.split(" | ");
            let name = cells.next().unwrap().trim_end_matches('`');
            (name, (cells.next().unwrap(), cells.next().unwrap()))
        })
        .collect();
    let sides: BTreeMap<_, _> =
        ErrorToken::ALL.map(|token| (token.as_str(), token.side().as_str())).into();
    assert_eq!(rows.iter().map(|(name, row)| (*name, row.1)).collect::<BTreeMap<_, _>>(), sides);
    let unparsed = [
        HeadError::Malformed,
        HeadError::TooLarge,
        HeadError::MethodTooLong,
        HeadError::TargetTooLong,
        HeadError::CodingUnsupported,
        HeadError::Version,
        HeadError::Timeout,
    ];
    let unparsed: BTreeMap<_, _> =
        unparsed.map(|error| (error.status().as_u16(), "_UNPARSED")).into();
    let refused = unparsed.keys().map(|status| (ErrorToken::HttpRequestError, *status));
    let failed = failures().into_iter().map(|error| (error.token(), error.status()));
    for (token, status) in failed.chain(refused) {
        let told = rows[token.as_str()].0;
        let is_told = told.split(", ").any(|word| word == status.to_string());
        assert!(is_told, "{token}: {status} is not in `{told}`");
    }
    let (_, said) = page.split_once("path=\"_UNPARSED\", error=\"http_request_error\"`").unwrap();
    let said = said.split('.').next().unwrap();
    for status in unparsed.keys() {
        assert!(said.contains(&status.to_string()), "{status} is not among those without a path");
    }
}

#[test]
fn what_zero_means_is_said_wherever_a_flag_takes_a_time() {
    let page = read("docs/flags.md");
    let told: BTreeMap<_, _> =
        page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once(" TIME` |")).collect();
    let help = std::process::Command::new(env!("CARGO_BIN_EXE_proxy")).arg("--help").output();
    let help = String::from_utf8(help.unwrap().stdout).unwrap();
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(help.matches(" <TIME> ").count(), TIME_FLAGS.len());
    assert_eq!(told.len(), TIME_FLAGS.len());
    for flag in TIME_FLAGS {
        let words = flag.zero.words();
        assert!(told[flag.name].contains(words), "docs/flags.md, {}: {words}", flag.name);
        let (_, entry) = help.split_once(&format!("{} <TIME> ", flag.name)).unwrap();
        let entry = entry.split(" <").next().unwrap();
        assert!(entry.contains(words), "--help, {}: {words}: {entry}", flag.name);
    }
}

#[test]
fn every_dependency_has_a_reason() {
    let manifest = read("Cargo.toml");
    let mut in_dependencies = false;
    let mut before = "";
    let mut faults = Vec::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            in_dependencies = line.contains("dependencies]");
        } else if in_dependencies && line.contains('=') && !line.starts_with('#') {
            let has_reason = line.contains(" # ") || before.starts_with('#');
            if !has_reason {
                faults.push(line);
            }
        }
        before = line;
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn imports_are_understood() {
    let text = "use crate::a::B;\nuse crate::{c, d::E};\n// crate::x\nlet f = crate::f::g();\npub(crate) fn h() { crate::I }";
    assert_eq!(imports(text), ["a", "c", "d", "f"]);
}

/// The pages that say how things are: at the root, in docs and in docs/adr.
fn pages() -> Vec<String> {
    let mut pages = Vec::new();
    for folder in ["", "docs/", "docs/adr/"] {
        for entry in std::fs::read_dir(root().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "md") {
                pages.push(format!("{folder}{}", path.file_name().unwrap().to_str().unwrap()));
            }
        }
    }
    pages.sort_unstable();
    pages
}

/// Paths in a text that begin with `start`, not in the middle of another path.
fn paths_named(text: &str, start: &str) -> Vec<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || "_-./".contains(c);
    let places = text.match_indices(start).map(|(at, _)| text.split_at(at));
    let whole = places.filter(|(before, _)| !before.ends_with(is_part));
    let paths = whole.map(|(_, rest)| rest.chars().take_while(|c| is_part(*c)).collect::<String>());
    paths.map(|path| path.trim_end_matches('.').to_owned()).collect()
}

#[test]
fn the_architecture_is_short_enough_to_be_read_at_once() {
    let words = read("ARCHITECTURE.md").split_whitespace().count();
    assert!(words <= 1500, "{words} words");
}

#[test]
fn what_the_pages_name_is_there() {
    let mut lost = Vec::new();
    for page in pages() {
        let text = read(&page);
        let beside = root().join(&page).parent().unwrap().to_owned();
        for link in text.split("](").skip(1) {
            let target = link.split(')').next().unwrap().split('#').next().unwrap();
            if !target.is_empty() && !target.contains("://") && !beside.join(target).exists() {
                lost.push(format!("{page}: the link {target}"));
            }
        }
        for path in ["src/", "tests/"].map(|start| paths_named(&text, start)).concat() {
            if !root().join(&path).exists() {
                lost.push(format!("{page}: {path}"));
            }
        }
    }
    assert!(lost.is_empty(), "{lost:#?}");
}

/// Every field that can hold bytes of a peer, and who is charged for it. A new kind of buffer belongs
/// into a `Kept` or a `Pieces`, or gets a `Charge` and a line here.
const BUFFERS: &[(&str, &str, &str)] = &[
    ("src/net/budget/kept.rs", "bytes", "its own charge"),
    ("src/net/budget/pieces.rs", "blocks", "its own charge"),
    ("src/net/transport/scratch.rs", "bytes", "one for a worker, of the process"),
    ("src/proxy/body/h2.rs", "pieces", "its sink's charge"),
    ("src/proxy/body/sink.rs", "out", "its sink's charge"),
    ("src/proxy/downstream/h2/watch.rs", "answer", "less than is small"),
    ("src/proxy/request.rs", "upgrade", "a part of the head, which is charged"),
    ("src/proxy/tunnel.rs", "waiting", "its direction's charge"),
];

#[test]
fn every_buffer_is_charged_to_somebody() {
    const KINDS: [&str; 5] = ["Vec<u8>", "BytesMut", "Deque<Bytes>", "Vec<Bytes>", "Box<[u8]>"];
    let mut found = Vec::new();
    for source in sources().iter().filter(|source| ["net", "proxy"].contains(&&*source.room)) {
        if source.path.contains("/tests") || source.path.ends_with("/memory.rs") {
            continue;
        }
        let code = source.text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
        let mut is_struct = false;
        for line in code.lines() {
            is_struct = (is_struct && line != "}") || line.contains("struct ");
            let Some((name, kind)) = line.trim().split_once(": ").filter(|_| is_struct) else {
                continue;
            };
            if !name.starts_with("//") && KINDS.iter().any(|buffer| kind.contains(buffer)) {
                let name = name.rsplit(' ').next().unwrap_or(name).to_owned();
                found.push((source.path.clone(), name));
            }
        }
    }
    let known: Vec<_> =
        BUFFERS.iter().map(|(path, name, _)| ((*path).to_owned(), (*name).to_owned())).collect();
    assert_eq!(found, known, "see BUFFERS");
}

#[test]
fn every_decision_is_in_the_list_of_decisions() {
    let list = read("docs/adr/README.md");
    let decisions: Vec<_> = pages()
        .into_iter()
        .filter_map(|page| page.strip_prefix("docs/adr/").map(str::to_owned))
        .filter(|page| page != "README.md")
        .collect();
    let mut numbers = Vec::new();
    for page in &decisions {
        let number = page.split('-').next().unwrap();
        let is_number = number.len() == 3 && number.bytes().all(|byte| byte.is_ascii_digit());
        assert!(is_number && !numbers.contains(&number), "{page}: not a number of its own");
        numbers.push(number);
        assert_eq!(list.matches(&format!("]({page})")).count(), 1, "{page} in docs/adr/README.md");
        let title = read(&format!("docs/adr/{page}"));
        let title = title.lines().next().unwrap().trim_start_matches("# ");
        let (number, title) = title.split_once(' ').unwrap();
        assert!(list.contains(&format!("* [{number}]({page}) {title}\n")), "{page}: its title");
    }
}

#[test]
fn paths_in_a_text_are_understood() {
    let text =
        "See `src/a.rs`, src/b/, (tests/it/c.rs). Not examples/x/tests/d or mysrc/e; src/f*.";
    assert_eq!(paths_named(text, "src/"), ["src/a.rs", "src/b/", "src/f"]);
    assert_eq!(paths_named(text, "tests/"), ["tests/it/c.rs"]);
}

//! Tells the build which commit and compiler it is, for `redcar_build_info`; makes the live page.

#![expect(clippy::disallowed_methods, reason = "cargo speaks to a build script by environment")]

use std::path::Path;
use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}

/// Puts style and scripts into the page, and writes the policy that allows just these.
fn make_page() {
    println!("cargo::rerun-if-changed=src/admin/page");
    let read = |name: &str| {
        let path = Path::new("src/admin/page").join(name);
        std::fs::read_to_string(&path).expect("every file of the page is there")
    };
    let hash = |text: &str| format!("'sha256-{}'", STANDARD.encode(Sha256::digest(text)));
    let style = format!("\n{}", read("page.css"));
    let script = ["names.js", "parse.js", "model.js", "format.js", "view.js", "poll.js"].map(read);
    let script = format!("\n'use strict';\n{}", script.concat());
    let policy = [
        "default-src 'none'",
        &format!("script-src {}", hash(&script)),
        &format!("style-src {}", hash(&style)),
        "connect-src 'self'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
    ];
    println!("cargo::rustc-env=REDCAR_PAGE_POLICY={}", policy.join("; "));
    let page = read("page.html").replace("{{style}}", &style).replace("{{script}}", &script);
    let out = std::env::var("OUT_DIR").expect("cargo sets it");
    std::fs::write(Path::new(&out).join("page.html"), page).expect("OUT_DIR can be written");
}

fn main() {
    make_page();
    // A file that is not there, as outside of a repository, would have Cargo build each time anew.
    if let Some(head) = output("git", &["rev-parse", "--git-path", "HEAD"]) {
        println!("cargo::rerun-if-changed={head}");
    }
    println!("cargo::rerun-if-env-changed=REDCAR_REVISION");
    let revision = std::env::var("REDCAR_REVISION")
        .ok()
        .or_else(|| output("git", &["rev-parse", "--short=12", "HEAD"]))
        .unwrap_or_else(|| "unknown".to_owned());
    println!("cargo::rustc-env=REDCAR_REVISION={revision}");
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let version = output(&rustc, &["--version"])
        .and_then(|line| line.split_whitespace().nth(1).map(str::to_owned))
        .unwrap_or_else(|| "unknown".to_owned());
    println!("cargo::rustc-env=REDCAR_RUSTC={version}");
}

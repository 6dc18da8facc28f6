//! The token that readers of the metrics port have to show, from a file that may change.

use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, RwLock};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use subtle::ConstantTimeEq;

use crate::net::file::{self, Stamp};
use crate::net::tls::RELOAD_INTERVAL;

/// More than any list of tokens needs.
const MAX_BYTES: u64 = 64 * 1024;

/// The tokens of a file: one a line, so that an old one and a new one are good while readers change
/// over.
pub struct Tokens {
    file: PathBuf,
    current: RwLock<Vec<Box<[u8]>>>,
    seen: Mutex<(Option<Stamp>, String)>,
}

impl fmt::Debug for Tokens {
    /// Shows no token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").field("file", &self.file).finish_non_exhaustive()
    }
}

impl Tokens {
    /// Reads the file of `--metrics-token-file`.
    ///
    /// # Errors
    ///
    /// It cannot be read, is no regular file, or holds no token.
    pub fn load(file: PathBuf) -> io::Result<Self> {
        // Before the file is read: a change in between is seen at the next look.
        let stamp = Stamp::of(&file);
        let current = RwLock::new(read(&file)?);
        Ok(Self { file, current, seen: Mutex::new((stamp, String::new())) })
    }

    /// Tells whether an Authorization field shows one of the tokens: as a bearer's, or as the
    /// password of any user, which is what browsers can ask for. Never panics.
    ///
    /// # Source
    ///
    /// RFC 6750 §2.1, RFC 7617 §2.
    pub(super) fn allow(&self, authorization: &str) -> bool {
        let Some((scheme, shown)) = authorization.split_once(' ') else { return false };
        let shown = shown.trim();
        if scheme.eq_ignore_ascii_case("bearer") {
            return self.has(shown.as_bytes());
        }
        let decoded = STANDARD.decode(shown).unwrap_or_default();
        let colon = decoded.iter().position(|byte| *byte == b':');
        let password = colon.and_then(|colon| decoded.get(colon + 1..));
        scheme.eq_ignore_ascii_case("basic") && password.is_some_and(|word| self.has(word))
    }

    /// Compares in a time that tells nothing but lengths.
    fn has(&self, shown: &[u8]) -> bool {
        let known = self.current.read().unwrap_or_else(PoisonError::into_inner);
        known.iter().fold(false, |found, token| found | bool::from(token.ct_eq(shown)))
    }

    /// Looks at the file, and takes it over if it changed; if it cannot be used, the tokens stay,
    /// and the log says so once.
    fn reload(&self) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let stamp = Stamp::of(&self.file);
        let (known, failure) = &mut *seen;
        if failure.is_empty() && *known == stamp {
            return;
        }
        *known = stamp;
        match read(&self.file) {
            Ok(tokens) => {
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = tokens;
                failure.clear();
                tracing::info!("the tokens of the metrics port were read again");
            }
            Err(error) => {
                let error = error.to_string();
                if *failure != error {
                    tracing::error!(
                        error,
                        "--metrics-token-file cannot be used; the old tokens stay"
                    );
                }
                *failure = error;
            }
        }
    }

    /// Looks at the file as often as at certificates. Never ends. Reads a small file, so it belongs
    /// on a thread that serves nobody.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future stops the watch, nothing else.
    pub async fn watch(&self) -> ! {
        loop {
            tokio::time::sleep(RELOAD_INTERVAL).await;
            self.reload();
        }
    }
}

fn read(path: &Path) -> io::Result<Vec<Box<[u8]>>> {
    let mut text = String::new();
    file::open(path)?.take(MAX_BYTES).read_to_string(&mut text)?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let tokens: Vec<Box<[u8]>> = lines.map(|line| line.as_bytes().into()).collect();
    let is_plain = |token: &[u8]| token.iter().all(u8::is_ascii_graphic);
    match tokens.iter().all(|token| is_plain(token)) {
        true if !tokens.is_empty() => Ok(tokens),
        true => Err(io::Error::other("it holds no token; give one on a line")),
        false => Err(io::Error::other("a token is one line of visible ASCII")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn with(text: &str, name: &str) -> io::Result<(PathBuf, Tokens)> {
        let file = std::env::temp_dir().join(format!("redcar-{name}-{}", std::process::id()));
        std::fs::write(&file, text)?;
        Ok((file.clone(), Tokens::load(file)?))
    }

    #[test]
    fn each_line_is_a_token_and_nothing_else_is() {
        let (file, tokens) = with("\nfirst-token\r\n  second:token \n", "tokens").expect("tokens");
        let basic = |text: &str| format!("Basic {}", STANDARD.encode(text));
        for (shown, fine) in [
            ("Bearer first-token".to_owned(), true),
            ("bearer  second:token".to_owned(), true),
            (basic("anybody:first-token"), true),
            (basic(":second:token"), true),
            (basic("first-token"), false),
            (basic("first-token:"), false),
            ("Bearer first-toke".to_owned(), false),
            ("Bearer first-token2".to_owned(), false),
            ("Bearer ".to_owned(), false),
            ("Bearer".to_owned(), false),
            ("Digest first-token".to_owned(), false),
            ("first-token".to_owned(), false),
            ("Basic !".to_owned(), false),
        ] {
            assert_eq!(tokens.allow(&shown), fine, "{shown}");
        }
        assert!(!format!("{tokens:?}").contains("first"), "{tokens:?}");
        std::fs::remove_file(file).expect("it is ours");
    }

    #[test]
    fn a_file_that_changes_is_taken_over_and_a_broken_one_is_not() {
        let (file, tokens) = with("old", "token-changes").expect("a token");
        let good = |token: &str| tokens.allow(&format!("Bearer {token}"));
        tokens.reload();
        assert!(good("old") && !good("new"));
        for broken in ["", "\n \n", "two words"] {
            std::fs::write(&file, broken).expect("a file");
            tokens.reload();
            assert!(good("old"), "{broken:?}");
        }
        std::fs::remove_file(&file).expect("it is ours");
        tokens.reload();
        assert!(good("old"));
        std::fs::write(&file, "new\n").expect("a file");
        tokens.reload();
        assert!(good("new") && !good("old"));
        std::fs::remove_file(file).expect("it is ours");
        assert!(with("", "token-none").is_err() && with("\u{e9}", "token-foreign").is_err());
    }

    proptest! {
        #[test]
        fn any_field_is_read(field in ".*") {
            let current = RwLock::new(vec![b"token".as_slice().into()]);
            let seen = Mutex::new((None, String::new()));
            let tokens = Tokens { file: PathBuf::new(), current, seen };
            prop_assert!(!tokens.allow(&field));
        }
    }
}

//! Names of files: which extensions there are, and which files a browser fetches with a page.

use super::detect::{Segment, classify};
use super::vocabulary::{is_collection, is_common_word};

/// Extensions of static files, which browsers fetch along with a page and keep.
const STATIC: [&str; 30] = [
    "apng", "avif", "bmp", "css", "cur", "eot", "gif", "ico", "jpeg", "jpg", "js", "less", "map",
    "mjs", "mp3", "mp4", "ogg", "ogv", "otf", "png", "scss", "svg", "swf", "ttf", "wasm", "wav",
    "webm", "webp", "woff", "woff2",
];

/// Extensions of pages, data, documents and archives.
const OTHERS: [&str; 67] = [
    "7z", "action", "ashx", "asmx", "asp", "aspx", "atom", "bak", "bz2", "cfm", "cgi", "csv",
    "deb", "dmg", "do", "doc", "docx", "epub", "exe", "flac", "git", "gz", "htm", "html", "ics",
    "iso", "jar", "json", "jsonld", "jsp", "jspa", "jspx", "key", "log", "m3u8", "md", "mov",
    "mpd", "odp", "ods", "odt", "pages", "pdf", "phar", "php", "phtml", "ppt", "pptx", "ps", "rar",
    "rpm", "rss", "rst", "shtml", "sql", "svgz", "tar", "tgz", "tiff", "txt", "vcf", "whl",
    "xhtml", "xls", "xlsx", "xml", "zip",
];

/// Programs that answer for themselves: what is called so is no file that somebody put there.
const SCRIPTS: [&str; 14] = [
    "action", "ashx", "asmx", "asp", "aspx", "cfm", "cgi", "do", "jsp", "jspa", "jspx", "phar",
    "php", "phtml",
];

/// Folders below which people put files of any kind.
const STORES: [&str; 11] = [
    "attachment",
    "attachments",
    "blob",
    "blobs",
    "download",
    "downloads",
    "fileadmin",
    "raw",
    "upload",
    "uploads",
    "user_upload",
];

/// The extension of a file's name with its dot, or nothing.
pub(super) fn known_extension(segment: &str) -> &str {
    let extension = segment.rfind('.').filter(|dot| *dot > 0).and_then(|dot| segment.get(dot..));
    let is_known = |extension: &&str| {
        let name = extension.get(1..).unwrap_or("");
        STATIC.contains(&name) || OTHERS.binary_search(&name).is_ok()
    };
    extension.filter(is_known).unwrap_or("")
}

/// What stands for an extension that says little.
const ANY: &str = ".{ext}";

/// A static file below a folder: `/static/css/site.css`.
pub(super) struct StaticFile<'a> {
    /// The folder that a label keeps: the first one, and common words that follow; where people
    /// put their files, all up to it.
    pub(super) folder: &'a str,
    /// With its dot, for scripts and styles; of pictures, fonts and sounds it says little.
    pub(super) extension: &'static str,
}

impl<'a> StaticFile<'a> {
    /// Folders that a label keeps at most.
    const FOLDERS: usize = 3;

    /// Tells whether a path is that of a static file, by its extension.
    ///
    /// Not one at the root: those are few, and have names that mean something (`/favicon.ico`).
    pub(super) fn of(path: &'a str) -> Option<Self> {
        let (folders, name) = path.rsplit_once('/')?;
        let dot = name.rfind('.').filter(|dot| *dot > 0)?;
        let extension = name.get(dot + 1..)?;
        if folders.len() < 2 || is_api(folders) {
            return None;
        }
        if let Some(folder) = store(folders)
            && !known_extension(name).is_empty()
            && !SCRIPTS.contains(&extension)
        {
            return Some(Self { folder, extension: ANY });
        }
        if !STATIC.contains(&extension) {
            return None;
        }
        let extension = match extension {
            "css" | "less" | "scss" => ".css",
            "js" | "mjs" | "wasm" => ".js",
            _ => ANY,
        };
        let (mut end, mut before) = (0, "");
        for (index, folder) in folders.split('/').skip(1).enumerate() {
            // Below `apps` and `themes` come the names of some.
            let is_kept = folder.len() > 1
                && classify(folder) == Segment::Word
                && is_common_word(folder)
                && !is_collection(before);
            if index > 0 && !(is_kept && index < Self::FOLDERS) {
                break;
            }
            end += 1 + folder.len();
            before = folder;
        }
        Some(Self { folder: path.get(..end)?, extension })
    }
}

/// The way to a folder where people put files, with it.
fn store(folders: &str) -> Option<&str> {
    let mut end = 0;
    folders.split('/').find_map(|folder| {
        end += folder.len() + 1;
        if STORES.contains(&folder) { folders.get(..end - 1) } else { None }
    })
}

/// Tells whether a path is that of an API, where a file is rather the name of a thing.
fn is_api(path: &str) -> bool {
    let first = path.split('/').nth(1).unwrap_or("");
    let version = first.strip_prefix('v').unwrap_or("");
    first == "api" || version.starts_with(|c: char| c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extensions_are_in_order() {
        assert!(OTHERS.is_sorted());
        assert_eq!(known_extension("a.b.html"), ".html");
        for none in ["john.doe", ".html", "html", "a.", "example.com"] {
            assert_eq!(known_extension(none), "", "{none}");
        }
    }
}

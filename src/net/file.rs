//! Files that flags name: regular ones, so that reading them ends.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

/// Opens a regular file for reading.
///
/// A pipe would hang until somebody writes, a device may never end, and opening one may have
/// effects of its own: neither is opened, whatever takes the file's place in between.
///
/// # Errors
///
/// The kernel's, and what the file is if it is none.
pub fn open(path: &Path) -> io::Result<File> {
    is_regular(&std::fs::metadata(path)?)?;
    let nonblocking = OFlags::NONBLOCK.bits().cast_signed();
    let file = File::options().read(true).custom_flags(nonblocking).open(path)?;
    is_regular(&file.metadata()?)?;
    Ok(file)
}

/// What tells one version of a file from the next. The time is that of the inode, so a change of
/// permissions counts, and whoever sets the time of modification back is noticed, too. Symbolic
/// links are followed: Kubernetes swaps one when a mounted secret changes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stamp {
    device: u64,
    inode: u64,
    size_bytes: u64,
    changed_nanos: (i64, i64),
}

impl Stamp {
    /// The stamp of a file; none if there is none.
    pub fn of(file: &Path) -> Option<Self> {
        let about = std::fs::metadata(file).ok()?;
        Some(Self {
            device: about.dev(),
            inode: about.ino(),
            size_bytes: about.size(),
            changed_nanos: (about.ctime(), about.ctime_nsec()),
        })
    }
}

fn is_regular(about: &std::fs::Metadata) -> io::Result<()> {
    let kind = about.file_type();
    let what = match () {
        () if kind.is_file() => return Ok(()),
        () if kind.is_dir() => "a directory",
        () if kind.is_fifo() => "a pipe",
        () if kind.is_socket() => "a socket",
        () => "a device",
    };
    Err(io::Error::other(format!("it is {what}; give a regular file")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_regular_files_are_opened_and_nothing_hangs() {
        let folder = std::env::temp_dir().join(format!("redcar-files-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let (plain, pipe) = (folder.join("plain"), folder.join("pipe"));
        std::fs::write(&plain, "text").expect("a file");
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        let kind = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, kind, mode, 0).expect("a pipe");
        let socket = std::os::unix::net::UnixListener::bind(folder.join("socket"));
        assert!(open(&plain).is_ok() && socket.is_ok());
        for (file, what) in [
            (pipe, "a pipe"),
            (folder.clone(), "a directory"),
            (folder.join("socket"), "a socket"),
            ("/dev/zero".into(), "a device"),
        ] {
            let error = open(&file).expect_err(what).to_string();
            assert_eq!(error, format!("it is {what}; give a regular file"));
        }
        let absent = open(&folder.join("absent")).expect_err("nothing is there");
        assert_eq!(absent.kind(), io::ErrorKind::NotFound);
        std::fs::remove_dir_all(&folder).expect("the folder is ours");
    }
}

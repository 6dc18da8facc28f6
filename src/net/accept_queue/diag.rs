//! Questions to `NETLINK_SOCK_DIAG`, as bytes.
//!
//! # Source
//!
//! `sock_diag`(7); `linux/inet_diag.h`, `linux/unix_diag.h`, `linux/netlink.h`.

use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

const AF_UNIX: u8 = 1;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const AF_NETLINK: i32 = 16;
const NETLINK_SOCK_DIAG: i32 = 4;
const IPPROTO_TCP: u8 = 6;

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_DUMP: u16 = 0x300;
const HEADER_BYTES: usize = 16;

/// `TCP_LISTEN`, which Unix sockets use, too.
const LISTENING: u32 = 1 << 10;

/// Attribute of the counters of a socket's memory, the ninth of which are drops.
const INET_DIAG_SKMEMINFO: u16 = 7;
const DROPS_AT: usize = 8 * 4;
const INET_DIAG_SKV6ONLY: u16 = 11;
/// Bytes of `inet_diag_msg` and `unix_diag_msg`.
const INET_BYTES: usize = 72;
const UNIX_BYTES: usize = 16;

const UNIX_DIAG_NAME: u16 = 0;
const UNIX_DIAG_VFS: u16 = 1;
const UNIX_DIAG_RQLEN: u16 = 4;
/// Name, file and queue.
const UNIX_SHOW: u32 = 1 | 2 | 0x10;

/// The kernel answers at once.
const LIMIT: Duration = Duration::from_secs(1);

/// As much as the kernel puts into one answer.
const BUFFER_BYTES: usize = 32 * 1024;

/// A listening socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Listening {
    /// Its number in the kernel.
    pub(super) number: u32,
    /// Where it listens. Unspecified of a Unix socket.
    pub(super) ip: IpAddr,
    pub(super) is_v6_only: bool,
    pub(super) waiting: u32,
    pub(super) limit: u32,
    pub(super) drops: u32,
}

/// What a path leads to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct File {
    /// As the kernel numbers devices.
    device: u32,
    number: u64,
}

impl File {
    /// # Errors
    ///
    /// The kernel's.
    pub(super) fn at(path: &Path) -> io::Result<Self> {
        let found = rustix::fs::stat(path)?;
        let (major, minor) = (rustix::fs::major(found.st_dev), rustix::fs::minor(found.st_dev));
        Ok(Self { device: major << 20 | minor, number: found.st_ino })
    }
}

/// A socket for questions.
#[derive(Debug)]
pub(super) struct Diag(Socket);

impl Diag {
    /// # Errors
    ///
    /// The kernel's: a sandbox may forbid it.
    pub(super) fn open() -> io::Result<Self> {
        let protocol = Some(Protocol::from(NETLINK_SOCK_DIAG));
        let socket = Socket::new(Domain::from(AF_NETLINK), Type::DGRAM, protocol)?;
        socket.set_read_timeout(Some(LIMIT))?;
        Ok(Self(socket))
    }

    /// All sockets that listen on a TCP port.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub(super) fn tcp(&mut self, port: u16) -> io::Result<Vec<Listening>> {
        let mut found = Vec::new();
        for family in [AF_INET, AF_INET6] {
            let mut question = vec![family, IPPROTO_TCP, 1 << (INET_DIAG_SKMEMINFO - 1), 0];
            question.extend(LISTENING.to_ne_bytes());
            question.extend(port.to_be_bytes());
            question.resize(56, 0);
            self.ask(&question, NLM_F_DUMP, |body| {
                // The kernel has looked at the port; an older one may not have.
                found.extend(inet(body).filter(|(at, _)| *at == port).map(|(_, socket)| socket));
            })?;
        }
        Ok(found)
    }

    /// The Unix socket that listens at a path.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub(super) fn unix(&mut self, path: &Path, file: File) -> io::Result<Option<Listening>> {
        let mut found = None;
        self.ask(&unix_question(0), NLM_F_DUMP, |body| {
            if leads_to(body, path, file) {
                found = unix(body).or(found);
            }
        })?;
        Ok(found)
    }

    /// The Unix socket of this number, if it still listens.
    ///
    /// # Errors
    ///
    /// The kernel's; `NotFound` if it is gone.
    pub(super) fn unix_again(&mut self, number: u32) -> io::Result<Option<Listening>> {
        let mut found = None;
        self.ask(&unix_question(number), 0, |body| found = unix(body))?;
        Ok(found)
    }

    /// Asks, and hands over each answer.
    fn ask(&mut self, question: &[u8], flags: u16, mut each: impl FnMut(&[u8])) -> io::Result<()> {
        let length = u32::try_from(HEADER_BYTES + question.len()).map_err(io::Error::other)?;
        let mut message = length.to_ne_bytes().to_vec();
        message.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
        message.extend((NLM_F_REQUEST | flags).to_ne_bytes());
        // A sequence number and the port of the sender, which is the kernel's matter.
        message.extend([0; 8]);
        message.extend(question);
        self.0.send(&message)?;
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            let count = self.0.read(&mut buffer)?;
            let mut rest = buffer.get(..count).unwrap_or_default();
            if rest.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            while let Some((kind, body, next)) = message_of(rest) {
                match kind {
                    NLMSG_DONE => return Ok(()),
                    NLMSG_ERROR => return failure(body),
                    _ => each(body),
                }
                if flags & NLM_F_DUMP == 0 {
                    return Ok(());
                }
                rest = next;
            }
        }
    }
}

fn failure(body: &[u8]) -> io::Result<()> {
    match u32_at(body, 0).map(u32::cast_signed) {
        Some(0) => Ok(()),
        Some(code) => Err(io::Error::from_raw_os_error(code.wrapping_neg())),
        None => Err(io::ErrorKind::InvalidData.into()),
    }
}

fn unix_question(number: u32) -> Vec<u8> {
    let mut question = vec![AF_UNIX, 0, 0, 0];
    for field in [LISTENING, number, UNIX_SHOW] {
        question.extend(field.to_ne_bytes());
    }
    // No cookie: whatever has this number.
    question.extend([0xff; 8]);
    question
}

/// The first message of a buffer: its kind, its body, and what follows. Never panics.
fn message_of(buffer: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let length = usize::try_from(u32_at(buffer, 0)?).ok()?;
    let kind = u16_at(buffer, 4)?;
    let body = buffer.get(HEADER_BYTES..length)?;
    Some((kind, body, buffer.get(length.next_multiple_of(4)..).unwrap_or_default()))
}

/// A TCP socket and its port.
fn inet(body: &[u8]) -> impl Iterator<Item = (u16, Listening)> {
    let read = || {
        let ip = match *body.first()? {
            AF_INET => IpAddr::V4(Ipv4Addr::from(*body.get(8..)?.first_chunk::<4>()?)),
            AF_INET6 => IpAddr::V6(Ipv6Addr::from(*body.get(8..)?.first_chunk::<16>()?)),
            _ => return None,
        };
        let port = u16::from_be_bytes(*body.get(4..)?.first_chunk()?);
        let attributes = body.get(INET_BYTES..)?;
        let drops = attribute(attributes, INET_DIAG_SKMEMINFO).and_then(|a| u32_at(a, DROPS_AT));
        let v6_only = attribute(attributes, INET_DIAG_SKV6ONLY).and_then(|a| a.first());
        let socket = Listening {
            number: u32_at(body, 68)?,
            ip,
            is_v6_only: v6_only.is_some_and(|value| *value != 0),
            waiting: u32_at(body, 56)?,
            limit: u32_at(body, 60)?,
            drops: drops.unwrap_or(0),
        };
        Some((port, socket))
    };
    read().into_iter()
}

fn unix(body: &[u8]) -> Option<Listening> {
    let queue = attribute(body.get(UNIX_BYTES..)?, UNIX_DIAG_RQLEN)?;
    // The state: whoever has the number by now may do something else.
    (1_u32.checked_shl((*body.get(2)?).into())? == LISTENING).then_some(())?;
    Some(Listening {
        number: u32_at(body, 4)?,
        ip: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        is_v6_only: false,
        waiting: u32_at(queue, 0)?,
        limit: u32_at(queue, 4)?,
        drops: 0,
    })
}

/// Whether a socket is bound to a file. The name may be another in another container; the file's
/// number may be another on a layered file system.
fn leads_to(body: &[u8], path: &Path, file: File) -> bool {
    let attributes = body.get(UNIX_BYTES..).unwrap_or_default();
    let name = attribute(attributes, UNIX_DIAG_NAME).unwrap_or_default();
    let is_name = name.strip_suffix(b"\0").unwrap_or(name) == path.as_os_str().as_bytes();
    let vfs = attribute(attributes, UNIX_DIAG_VFS);
    let bound = vfs.and_then(|vfs| Some((u32_at(vfs, 4)?, u32_at(vfs, 0)?)));
    // The kernel tells just the lower half of the file's number.
    let is_file = bound.is_some_and(|(device, number)| {
        device == file.device && u64::from(number) == file.number & u64::from(u32::MAX)
    });
    is_file || is_name
}

/// The value of the first attribute of a kind. Never panics.
fn attribute(mut attributes: &[u8], kind: u16) -> Option<&[u8]> {
    loop {
        let length = usize::from(u16_at(attributes, 0)?);
        let value = attributes.get(4..length)?;
        if u16_at(attributes, 2)? == kind {
            return Some(value);
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().copied().map(u16::from_ne_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_answer_is_read(
            bytes in prop::collection::vec(any::<u8>(), 0..200), kind in 0..12_u16,
        ) {
            let _message = message_of(&bytes);
            let _socket = inet(&bytes).next();
            let _socket = unix(&bytes);
            let _attribute = attribute(&bytes, kind);
            let file = File { device: 1, number: 1 };
            let _bound = leads_to(&bytes, Path::new("/a"), file);
        }
    }
}

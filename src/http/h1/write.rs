//! Heads as bytes.

use http::StatusCode;

use super::{Target, Version};
use crate::http::head::{Fields, RequestLine, RequestWriter, ResponseWriter};
use crate::http::rewrite::RequestError;

impl Fields for Vec<u8> {
    fn field(&mut self, name: &str, value: &[u8]) {
        self.reserve(name.len() + value.len() + 4);
        self.extend_from_slice(name.as_bytes());
        self.extend_from_slice(b": ");
        self.extend_from_slice(value);
        self.extend_from_slice(b"\r\n");
    }

    fn end(&mut self) {
        self.extend_from_slice(b"\r\n");
    }
}

impl RequestWriter for Vec<u8> {
    fn request_line(&mut self, line: RequestLine<'_>) -> Result<(), RequestError> {
        request_line(self, line.method, line.target);
        Ok(())
    }
}

impl ResponseWriter for Vec<u8> {
    /// A client of HTTP/1.0 is answered in HTTP/1.0.
    fn status_line(&mut self, version: Version, status: StatusCode, reason: &[u8]) {
        let version = if version == Version::Http10 { b"HTTP/1.0 " } else { b"HTTP/1.1 " };
        self.extend_from_slice(version);
        self.extend_from_slice(status.as_str().as_bytes());
        self.push(b' ');
        self.extend_from_slice(reason);
        self.extend_from_slice(b"\r\n");
    }
}

/// Writes a request line.
pub(crate) fn request_line(out: &mut Vec<u8>, method: &str, target: Target<'_>) {
    out.extend_from_slice(method.as_bytes());
    out.extend_from_slice(if target.slash { b" /" } else { b" " });
    out.extend_from_slice(target.text);
    out.extend_from_slice(b" HTTP/1.1\r\n");
}

//! What `OpenTelemetry` calls the resource: which service the numbers are of.

/// Attributes of the resource, as labels of `target_info`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Resource(Vec<(String, String)>);

impl Default for Resource {
    fn default() -> Self {
        Self::new(None, None)
    }
}

impl Resource {
    /// Takes what `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` say.
    ///
    /// # Source
    ///
    /// `OpenTelemetry`'s specification of the resource SDK: the service's name goes before the
    /// attributes, and attributes with an error are none at all.
    pub fn new(service_name: Option<&str>, attributes: Option<&str>) -> Self {
        let mut labels = vec![
            ("service_name".to_owned(), "unknown_service:redcar".to_owned()),
            ("telemetry_distro_name".to_owned(), "redcar".to_owned()),
            ("telemetry_distro_version".to_owned(), super::VERSION.to_owned()),
        ];
        let mut put =
            |name: String, value: String| match labels.iter_mut().find(|(known, _)| *known == name)
            {
                Some((_, known)) => *known = value,
                None => labels.push((name, value)),
            };
        for (name, value) in attributes.and_then(parse).unwrap_or_default() {
            put(name, value);
        }
        if let Some(name) = service_name.filter(|name| !name.is_empty()) {
            put("service_name".to_owned(), name.to_owned());
        }
        labels.sort();
        Self(labels)
    }

    /// Names and values, in the order of the names.
    pub(super) fn labels(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }
}

/// Reads `service.version=1.2,deployment.environment.name=prod%2Feu`.
fn parse(text: &str) -> Option<Vec<(String, String)>> {
    let pairs = text.split(',').filter(|pair| !pair.trim().is_empty());
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=')?;
        let (name, value) = (label(name.trim()), decode(value.trim())?);
        (!name.is_empty()).then_some((name, value))
    };
    pairs.map(pair).collect()
}

/// `prod%2Feu` is `prod/eu`; `None` where that is no text.
fn decode(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).ok()
}

/// An attribute's name as a label of Prometheus: one `_` for whatever no label has.
fn label(name: &str) -> String {
    let mut label = String::with_capacity(name.len());
    for c in name.chars() {
        if c.is_ascii_alphanumeric() {
            label.push(c);
        } else if !label.ends_with('_') {
            label.push('_');
        }
    }
    if label.starts_with(|c: char| c.is_ascii_digit()) { format!("key_{label}") } else { label }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_has_the_name_and_the_attributes_that_it_is_given() {
        let shown = |name, attributes| {
            let labels: Vec<_> = Resource::new(name, attributes)
                .labels()
                .filter(|(name, _)| !name.starts_with("telemetry_distro_"))
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            labels.join(" ")
        };
        for (name, attributes, labels) in [
            (None, None, "service_name=unknown_service:redcar"),
            (Some(""), Some(""), "service_name=unknown_service:redcar"),
            (Some("shop"), None, "service_name=shop"),
            (None, Some("service.name=cart"), "service_name=cart"),
            (Some("shop"), Some("service.name=cart"), "service_name=shop"),
            (
                Some("shop"),
                Some("service.version=1.2, k8s.pod--name = a%2Fb,9lives=x"),
                "k8s_pod_name=a/b key_9lives=x service_name=shop service_version=1.2",
            ),
            // One error, and all of it is ignored.
            (Some("shop"), Some("service.version=1.2,oops"), "service_name=shop"),
            (Some("shop"), Some("service.version=%ff"), "service_name=shop"),
            (Some("shop"), Some("=x"), "service_name=shop"),
        ] {
            assert_eq!(shown(name, attributes), labels, "{name:?} {attributes:?}");
        }
    }
}

//! The manual page: clap's sections, and those that clap knows nothing of.

use std::io;

use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

/// Sections between the sub-commands and the version: title, then paragraphs.
const SECTIONS: &[(&str, &[&str])] = &[
    (
        "ENVIRONMENT",
        &[
            "Every flag has a variable: REDCAR_ and the name of the flag in capitals, as \
             REDCAR_MAX_PATHS for --max-paths. A list has commas. The flag wins over the variable, \
             and a variable that is set to nothing is not set. A variable that begins with REDCAR_ \
             and belongs to no flag is warned of.",
            "What Kubernetes sets for a Service called redcar (REDCAR_PORT, REDCAR_SERVICE_HOST and \
             the like) is no setting.",
        ],
    ),
    (
        "SIGNALS",
        &[
            "SIGTERM: stops without an error. /readyz answers 503, connections are accepted for \
             --shutdown-delay, then all that run may end within --shutdown-timeout.",
            "SIGINT: the same without the delay.",
            "SIGTERM or SIGINT once more: ends at once.",
            "SIGHUP: reads the files of --routes-file and --openapi again. Certificates are read \
             again when their files change.",
        ],
    ),
    (
        "EXIT STATUS",
        &[
            "0: it stopped as it was asked to, or the answer is yes.",
            "1: it could not start, or the answer is no: check, healthcheck, paths, diff.",
            "2: a flag or a variable is wrong; for diff also a page that cannot be read.",
        ],
    ),
    (
        "EXAMPLES",
        &[
            "redcar --listen :7001 --upstream :8000",
            "redcar --upstream unix:/run/app.sock --route '/users/{id}'",
            "redcar --tls-cert cert.pem --tls-key key.pem --upstream https://app.internal",
            "redcar --upstream :8000 --map :7002=:9000",
            "redcar check --upstream app:8000",
            "redcar top http://10.0.0.7:9464/metrics",
            "redcar paths access.log",
            "redcar diff before.prom :9464 --fail 'p95>+20%'",
            "redcar demo",
        ],
    ),
];

/// The page as roff.
///
/// # Errors
///
/// None in practice: it is written to memory.
pub(crate) fn page(command: clap::Command) -> io::Result<Vec<u8>> {
    let name = command.get_name().to_owned();
    let man = Man::new(command);
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    man.render_subcommands_section(&mut page)?;
    let mut roff = Roff::new();
    for (title, paragraphs) in SECTIONS {
        roff.control("SH", [*title]);
        for paragraph in *paragraphs {
            roff.control("PP", []);
            let text = match paragraph.strip_prefix("redcar ") {
                Some(rest) => format!("{name} {rest}"),
                None => (*paragraph).to_owned(),
            };
            roff.text([roman(text)]);
        }
    }
    roff.to_writer(&mut page)?;
    man.render_version_section(&mut page)?;
    Ok(page)
}

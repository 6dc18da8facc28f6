//! `proxy paths --merge` and `--check`: what the replicas of a service call their paths.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::io;
use std::process::ExitCode;
use std::time::Duration;

use redcar::config::{NameSource, NamesFrom};
use redcar::names::{ReadError, Source, read_all};
use redcar::paths::{NameSet, Template, learnable};
use serde::Deserialize;
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};

use self::contradictions::{Contradiction, Fleet};
use crate::cli::names::AccessArgs;
use crate::{USAGE, fail, print};

mod contradictions;

/// What a question about all replicas may bring, and how long it may take.
const MAX_BYTES: usize = 64 << 20;
const LIMIT: Duration = Duration::from_secs(30);

/// Prints what all sources know together, as a file that `--names-from` reads.
pub(crate) fn merge(sources: Vec<NameSource>, access: AccessArgs) -> ExitCode {
    let asked: Vec<_> = sources.iter().map(ToString::to_string).collect();
    let (runtime, sources) = match prepare(sources, access) {
        Ok(prepared) => prepared,
        Err(code) => return code,
    };
    let (names, results) = runtime.block_on(async { read_all(&sources).await });
    runtime.shutdown_background();
    // A list that lacks a part is worse than none: it would be deployed.
    for (source, result) in asked.iter().zip(results) {
        if let Err(error) = result {
            return fail(&io::Error::other(format!("{source}: {error}")), 1);
        }
    }
    print(list(&names).as_bytes())
}

/// The names that traffic can have brought, a line each, in the form of `GET /paths`.
fn list(names: &NameSet) -> String {
    let entries = names.iter().filter(|(template, _)| learnable(template).is_some());
    let entries = entries.map(|(template, since)| match since.known() {
        Some(since) => {
            serde_json::json!({ "template": template.as_str(), "since": since }).to_string()
        }
        None => serde_json::json!({ "template": template.as_str() }).to_string(),
    });
    let entries: Vec<_> = entries.collect();
    let folds: Vec<_> = names.folds().map(Template::as_str).collect();
    format!("{{\"paths\":[\n{}\n],\"folds\":{}}}\n", entries.join(",\n"), serde_json::json!(folds))
}

/// Prints the names that contradict one another. Exit code 1 if there is one.
pub(crate) fn check(prometheus: &str, job: &str, access: AccessArgs) -> ExitCode {
    let job = job.replace('\\', "\\\\").replace('"', "\\\"");
    let names =
        "http_requests_total|http_server_request_duration_seconds_count|flask_http_request_total";
    let questions = [
        format!(r#"count by (path, http_route, instance) ({{__name__=~"{names}",job="{job}"}})"#),
        format!(r#"count by (path, instance) (redcar_path_folds{{job="{job}"}})"#),
    ];
    let base = prometheus.trim_end_matches('/');
    let sources = questions
        .iter()
        .map(|promql| format!("{base}/api/v1/query?query={promql}").parse::<NameSource>());
    let sources: Vec<_> = match sources.collect() {
        Ok(sources) => sources,
        Err(error) => return fail(&error, USAGE),
    };
    let (runtime, sources) = match prepare(sources, access) {
        Ok(prepared) => prepared,
        Err(code) => return code,
    };
    let answers = runtime.block_on(async {
        let mut answers = Vec::new();
        for source in &sources {
            answers.push(samples(&source.fetch(LIMIT, MAX_BYTES).await?)?);
        }
        Ok::<_, ReadError>(answers)
    });
    runtime.shutdown_background();
    let [labels, folds] = match answers.map(TryInto::try_into) {
        Ok(Ok(answers)) => answers,
        Ok(Err(_)) => unreachable!("one answer for each question"),
        Err(error) => return fail(&io::Error::other(format!("{prometheus}: {error}")), 1),
    };
    let fleet = Fleet::new(labels, folds);
    if fleet.is_empty() {
        let text = format!("{prometheus} has no paths of job `{job}` now");
        return fail(&io::Error::other(text), 1);
    }
    let found = fleet.contradictions();
    let printed = print(report(&fleet, &found).as_bytes());
    if found.is_empty() { printed } else { ExitCode::FAILURE }
}

fn report(fleet: &Fleet, found: &[Contradiction]) -> String {
    let (names, instances) = fleet.size();
    let mut text =
        format!("# {names} names on {instances} instances, {} contradictions\n", found.len());
    for contradiction in found {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{contradiction}");
    }
    text
}

/// Path and instance of each sample.
fn samples(answer: &[u8]) -> Result<Vec<(String, String)>, ReadError> {
    #[derive(Deserialize)]
    struct Answer {
        data: Option<Data>,
        error: Option<String>,
    }
    #[derive(Deserialize)]
    struct Data {
        result: Vec<Sample>,
    }
    #[derive(Deserialize)]
    struct Sample {
        metric: BTreeMap<String, String>,
    }
    let answer: Answer =
        serde_json::from_slice(answer).map_err(|error| ReadError::Json(error.to_string()))?;
    if let Some(error) = answer.error {
        return Err(ReadError::Told(error));
    }
    let result = answer.data.ok_or(ReadError::Form("the JSON has no `data`"))?.result;
    let told = result.into_iter().filter_map(|mut sample| {
        let path = sample.metric.remove("path").or_else(|| sample.metric.remove("http_route"))?;
        Some((path, sample.metric.remove("instance").unwrap_or_default()))
    });
    Ok(told.collect())
}

fn prepare(
    sources: Vec<NameSource>,
    access: AccessArgs,
) -> Result<(LocalRuntime, Vec<Source>), ExitCode> {
    let names_from = NamesFrom { sources, ..access.resolve() };
    let sources = Source::prepare(&names_from).map_err(|error| fail(&error, 1))?;
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
    Ok((runtime.map_err(|error| fail(&error, 1))?, sources))
}

#[cfg(test)]
mod tests {
    use redcar::names::decode;
    use redcar::paths::Since;

    use super::*;

    #[test]
    fn what_is_merged_is_read_back_the_same() {
        let mut names = NameSet::default();
        names.insert("/a".parse().unwrap(), Since::seconds(7));
        names.insert("/b/{id}".parse().unwrap(), Since::UNKNOWN);
        names.insert_fold("/b/{id}".parse().unwrap());
        let text = list(&names);
        assert_eq!(decode(text.as_bytes()).unwrap().names, names, "{text}");
        names.insert("/users/42".parse().unwrap(), Since::seconds(1));
        assert_eq!(list(&names), text, "no traffic can have brought this");
        assert!(decode(list(&NameSet::default()).as_bytes()).unwrap().names.is_empty());
    }

    #[test]
    fn samples_have_the_label_of_either_profile() {
        let answer = br#"{"status":"success","data":{"resultType":"vector","result":[
            {"metric":{"path":"/a","instance":"x"},"value":[1,"2"]},
            {"metric":{"http_route":"/b","instance":"y"},"value":[1,"2"]},
            {"metric":{"instance":"y"},"value":[1,"2"]}]}}"#;
        let pair = |path: &str, instance: &str| (path.to_owned(), instance.to_owned());
        assert_eq!(samples(answer).unwrap(), [pair("/a", "x"), pair("/b", "y")]);
        assert!(samples(b"{\"status\":\"error\",\"error\":\"no\"}").is_err());
        assert!(samples(b"<html>").is_err());
    }
}

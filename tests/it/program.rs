//! The program as a process: neither who reads its logs nor what a peer does to them ends it.

use std::fs::File;
use std::io::{PipeReader, PipeWriter, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use redcar::config::{TIME_FLAGS, Zero};
use rustix::process::{Pid, Signal, kill_process};

use crate::backend::{Backend, Gate, OK, eventually};
use crate::client::Client;
use crate::scrape::{Metric, ask};

struct Program {
    child: Child,
    address: SocketAddr,
    metrics: SocketAddr,
    upstream: SocketAddr,
}

impl Program {
    /// On addresses of its own, so that no port has to be found.
    fn start(flags: &[&str], out: Stdio, err: Stdio) -> Self {
        Self::with_environment(&[], flags, out, err)
    }

    fn with_environment(
        environment: &[(String, &str)],
        flags: &[&str],
        out: Stdio,
        err: Stdio,
    ) -> Self {
        static NEXT: AtomicU8 = AtomicU8::new(1);
        let [.., high, low] = std::process::id().to_be_bytes();
        let ip = IpAddr::V4(Ipv4Addr::new(127, 128 | high, low, NEXT.fetch_add(1, Relaxed)));
        let (address, metrics) = (SocketAddr::new(ip, 7001), SocketAddr::new(ip, 9464));
        let upstream = SocketAddr::new(ip, 8000);
        let child = Command::new(env!("CARGO_BIN_EXE_proxy"))
            .env_clear()
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .args(["--listen", &address.to_string(), "--metrics", &metrics.to_string()])
            .args(["--upstream", &upstream.to_string()])
            .args(flags)
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .spawn()
            .unwrap();
        let program = Self { child, address, metrics, upstream };
        eventually("the program is ready", || {
            TcpStream::connect(metrics).is_ok() && ask(metrics, "/readyz", "").status() == 200
        });
        program
    }

    fn get(&self, path: &str) -> u16 {
        Client::connect(self.address).get(path).status()
    }

    fn metric(&self, name: &'static str) -> Metric {
        Metric::new(self.metrics, name)
    }

    /// As Ctrl-C does: no last scrape is waited for.
    fn interrupt(&self) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, Signal::INT).unwrap();
    }

    fn is_closed(&self) -> bool {
        TcpStream::connect(self.metrics).is_err()
    }

    fn ends(&mut self) -> ExitStatus {
        eventually("the program's end", || self.child.try_wait().unwrap().is_some());
        self.child.wait().unwrap()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It is over already, unless the test failed.
        let _gone = self.child.kill();
        let _status = self.child.wait();
    }
}

/// What nobody can write to.
#[derive(Clone, Copy, Debug)]
enum Broken {
    /// The reader has left.
    Gone,
    /// The reader does not read.
    Stalled { nonblocking: bool },
    /// No space is left on the device.
    Full,
}

const BROKEN: [Broken; 4] = [
    Broken::Gone,
    Broken::Stalled { nonblocking: false },
    Broken::Stalled { nonblocking: true },
    Broken::Full,
];

impl Broken {
    /// An output of this kind, and what keeps it so.
    fn open(self) -> (Stdio, Option<PipeReader>) {
        match self {
            Self::Gone => (std::io::pipe().unwrap().1.into(), None),
            Self::Stalled { nonblocking } => {
                let (reader, mut pipe) = std::io::pipe().unwrap();
                fill(&mut pipe);
                rustix::io::ioctl_fionbio(&pipe, nonblocking).unwrap();
                (pipe.into(), Some(reader))
            }
            Self::Full => (File::options().write(true).open("/dev/full").unwrap().into(), None),
        }
    }
}

/// Reads to the end, while the program runs.
fn collect(mut reader: PipeReader) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        text
    })
}

fn fill(pipe: &mut PipeWriter) {
    rustix::io::ioctl_fionbio(&*pipe, true).unwrap();
    for size in [4096, 1] {
        while pipe.write(&vec![b'.'; size]).is_ok() {}
    }
}

/// A backend at the program's upstream that holds what is asked for below `/held`.
fn backend(program: &Program, gate: &Gate) -> Backend {
    let gate = gate.clone();
    Backend::on(TcpListener::bind(program.upstream).unwrap(), move |connection| {
        while let Some(request) = connection.request() {
            if request.start_line().contains("/held") {
                gate.wait();
            }
            connection.send(OK);
        }
    })
}

#[test]
fn logs_that_cannot_be_written_end_neither_requests_nor_the_program() {
    for broken in BROKEN {
        let ((out, _out), (err, _err)) = (broken.open(), broken.open());
        let flags = ["--access-log", "json", "--log-level", "debug"];
        let mut program = Program::start(&flags, out, err);
        // The app that is not there, and then is, is told in the log.
        assert_eq!(program.get("/"), 502, "{broken:?}");
        let gate = Gate::default();
        let _backend = backend(&program, &gate);
        eventually("an answer", || program.get("/") == 200);
        let mut held = Client::connect(program.address);
        held.send("GET /held HTTP/1.1\r\nHost: a\r\n\r\n");
        program.metric("http_requests_in_flight").eventually_is(1);
        if matches!(broken, Broken::Gone | Broken::Full) {
            program.metric("redcar_log_dropped_total").eventually_reaches(1);
            program.metric("redcar_access_log_dropped_total").eventually_reaches(1);
        }
        program.interrupt();
        eventually("the drain", || ask(program.metrics, "/readyz", "").status() == 503);
        gate.open();
        assert_eq!(held.answer().text(), "ok", "{broken:?}");
        assert_eq!(program.ends().code(), Some(0), "{broken:?}");
    }
}

#[test]
fn a_second_signal_ends_the_program_at_once_whatever_hangs() {
    let stalled = Broken::Stalled { nonblocking: false };
    for held in [true, false] {
        let ((out, _out), (err, _err)) = (stalled.open(), stalled.open());
        let mut program = Program::start(&["--access-log", "common"], out, err);
        let gate = Gate::default();
        let _backend = backend(&program, &gate);
        eventually("an answer", || program.get("/") == 200);
        let mut client = Client::connect(program.address);
        if held {
            client.send("GET /held HTTP/1.1\r\nHost: a\r\n\r\n");
            program.metric("http_requests_in_flight").eventually_is(1);
        }
        drop(client);
        program.interrupt();
        if held {
            eventually("the drain", || ask(program.metrics, "/readyz", "").status() == 503);
        } else {
            // Now it waits for the readers of its logs.
            eventually("both ports are closed", || program.is_closed());
        }
        let begun = Instant::now();
        program.interrupt();
        assert_eq!(program.ends().code(), Some(1), "held: {held}");
        assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
        gate.open();
    }
}

#[test]
fn signals_that_mean_something_to_other_servers_end_nothing() {
    let (reader, err) = std::io::pipe().unwrap();
    let log = collect(reader);
    let mut program = Program::start(&[], Stdio::null(), err.into());
    for signal in [Signal::USR1, Signal::USR2, Signal::HUP, Signal::USR1] {
        let pid = Pid::from_raw(i32::try_from(program.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
        assert_eq!(program.get("/"), 502, "{signal:?}");
    }
    program.interrupt();
    assert_eq!(program.ends().code(), Some(0));
    let log = log.join().unwrap();
    assert!(log.contains("SIGUSR1 and SIGUSR2 do nothing"), "{log}");
}

#[test]
fn a_file_that_is_a_pipe_or_a_device_is_refused_and_hangs_nothing() {
    let folder = std::env::temp_dir().join(format!("redcar-pipes-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let pipe = folder.join("pipe");
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    let kind = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, kind, mode, 0).unwrap();
    let file = pipe.to_str().unwrap();
    for flags in [
        &["--routes-file", file][..],
        &["--openapi", file],
        &["--tls-cert", file, "--tls-key", file],
        &["--metrics-tls-cert", file, "--metrics-tls-key", file],
        &["--metrics-token-file", file],
        &["--upstream", "https://app", "--upstream-ca", file],
    ] {
        let (code, said) = run(&[&["check"], flags].concat(), &[]);
        assert!(
            code != 0 && said.contains("it is a pipe; give a regular file"),
            "{flags:?} {said}"
        );
        assert!(said.contains(file), "{flags:?} {said}");
    }
    let (code, said) = run(&["check", "--routes-file", "/dev/zero"], &[]);
    assert!(code != 0 && said.contains("it is a device"), "{said}");
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn requests_that_do_not_parse_are_in_the_access_log() {
    let (reader, out) = std::io::pipe().unwrap();
    let log = collect(reader);
    let flags = ["--access-log", "json", "--header-timeout", "300ms"];
    let mut program = Program::start(&flags, out.into(), Stdio::null());
    let filler = "x".repeat(70_000);
    let mut expected = Vec::new();
    for (head, status) in [
        ("nonsense\r\n\r\n".to_owned(), 400),
        (format!("GET /{filler} HTTP/1.1\r\nHost: a\r\n\r\n"), 414),
        (format!("GET / HTTP/1.1\r\nX: {filler}\r\n\r\n"), 431),
        ("GET / HTTP/1.1\r\nHost:".to_owned(), 408),
    ] {
        let mut client = Client::connect(program.address);
        client.send_what_is_taken(head);
        assert_eq!(client.head().status(), status);
        expected.push(u64::from(status));
    }
    let mut client = Client::connect(program.address);
    client.send("GET /caf%C3%A9 HTTP/1.1\r\nHost: a\r\nUser-Agent: caf\u{e9}\r\n\r\n");
    assert_eq!(client.head().status(), 502);
    drop(client);
    program.metric("http_requests_total").eventually_is(5);
    program.interrupt();
    assert_eq!(program.ends().code(), Some(0));
    let log = log.join().unwrap();
    let lines: Vec<serde_json::Value> =
        log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (last, unparsed) = lines.split_last().unwrap();
    assert_eq!(last["user_agent"], "caf\u{e9}");
    let told = unparsed.iter().map(|line| line["status"].as_u64().unwrap());
    assert_eq!(told.collect::<Vec<_>>(), expected);
    for line in unparsed {
        assert_eq!((&line["method"], &line["path"]), (&"-".into(), &"-".into()), "{log}");
        assert_eq!((&line["route"], &line["peer"]), (&"_UNPARSED".into(), &"127.0.0.1".into()));
        assert_eq!(line["error"], "http_request_error");
    }
}

/// Runs the program to its end; tells its exit code and what it said on both outputs.
fn run(arguments: &[&str], environment: &[(String, &str)]) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_proxy"));
    let variables = environment.iter().map(|(name, value)| (name, value));
    let output = command.env_clear().envs(variables).args(arguments).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(said).unwrap())
}

#[test]
fn an_environment_variable_that_is_set_to_nothing_is_not_set() {
    let (_, help) = run(&["--help"], &[]);
    let twins = help.split("[env: ").skip(1).map(|rest| rest.split('=').next().unwrap());
    let empty: Vec<_> = twins.map(|name| (name.to_owned(), "")).collect();
    assert!(empty.len() > 30, "{empty:?}");
    let mut program = Program::with_environment(&empty, &[], Stdio::null(), Stdio::null());
    assert_eq!(program.get("/"), 502);
    assert!((program.metric("redcar_paths_limit").value() - 500.0).abs() < 0.1);
    program.interrupt();
    assert_eq!(program.ends().code(), Some(0));
    // Sub-commands have twins of their own.
    let (code, said) = run(&["check", "--upstream", "127.0.0.1:1"], &empty);
    assert!(code == 1 && said.contains("flags are valid"), "{code} {said}");
    let (code, said) = run(&["healthcheck"], &empty);
    assert!(code == 1 && said.contains(":9464"), "{code} {said}");
    let (code, said) = run(&["paths", "/dev/null"], &empty);
    assert_eq!(code, 0, "{said}");
    // A flag that is given is given.
    let (code, said) = run(&["--upstream", ""], &empty);
    assert!(code == 2 && said.contains("--upstream"), "{code} {said}");
}

#[test]
fn any_time_is_used_or_refused_and_none_panics() {
    let times = TIME_FLAGS.map(|flag| flag.name);
    for time in ["18446744073709551616s", "9223372036854775807s", "367days"] {
        for flag in times {
            let (code, said) = run(&[flag, time], &[]);
            assert!(code == 2 && said.contains(flag) && said.contains("too long"), "{said}");
        }
    }
    for flag in TIME_FLAGS.iter().filter(|flag| flag.zero == Zero::Refused) {
        let (code, said) = run(&[flag.name, "0s"], &[]);
        assert!(code == 2 && said.contains(flag.name), "{code} {said}");
    }
    for command in [["healthcheck", "--timeout"], ["top", "--interval"], ["demo", "--duration"]] {
        for time in ["0s", "367days"] {
            let (code, said) = run(&[command[0], command[1], time], &[]);
            assert!(code == 2 && said.contains(command[1]), "{code} {said}");
        }
    }
    let longest: Vec<_> = times.into_iter().flat_map(|flag| [flag, "366days"]).collect();
    let accepted = TIME_FLAGS.iter().filter(|flag| flag.zero != Zero::Refused);
    let shortest: Vec<_> = accepted.flat_map(|flag| [flag.name, "0s"]).collect();
    for flags in [longest, shortest] {
        let mut program = Program::start(&flags, Stdio::null(), Stdio::null());
        let gate = Gate::default();
        let _backend = backend(&program, &gate);
        let mut client = Client::connect(program.address);
        for _ in 0..2 {
            eventually("an answer", || client.get("/").status() == 200);
        }
        gate.open();
        assert_eq!(client.get("/held").status(), 200);
        drop(client);
        program.interrupt();
        assert_eq!(program.ends().code(), Some(0), "{flags:?}");
    }
}

#[test]
fn what_a_peer_repeats_is_not_repeated_in_the_log() {
    let (reader, err) = std::io::pipe().unwrap();
    let log = collect(reader);
    let mut program = Program::start(&[], Stdio::null(), err.into());
    let mut client = Client::connect(program.address);
    let frame = |kind, flags| [&[0, 0, 8, kind, flags, 0, 0, 0, 0][..], b"peerpeer"].concat();
    client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    // SETTINGS, then acknowledgements of pings that nobody sent, then a ping.
    client.send([0, 0, 0, 4, 0, 0, 0, 0, 0]);
    client.send_what_is_taken(frame(6, 1).repeat(900));
    client.send_what_is_taken(frame(6, 0));
    eventually("all was read", || {
        let head = client.take(9);
        client.take(usize::from(head[1]) << 8 | usize::from(head[2]));
        head[3..5] == [6, 1]
    });
    drop(client);
    program.interrupt();
    assert_eq!(program.ends().code(), Some(0));
    let log = log.join().unwrap();
    assert!(log.lines().count() < 10, "{} lines: {log:.2000}", log.lines().count());
}

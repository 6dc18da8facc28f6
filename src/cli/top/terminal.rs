//! The screen and the keys.
//!
//! The terminal is given back as it was, also after a panic or a signal.

use std::io::{self, IsTerminal};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::layout::{Constraint, Layout};
use ratatui::style::Stylize;
use ratatui::text::Line;
use ratatui::widgets::{TableState, Widget};
use ratatui::{DefaultTerminal, Frame};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::signal::unix::{SignalKind, signal};

use super::history::History;
use super::table::{self, Sort, View};
use crate::cli::scrape::page::Page;
use crate::cli::scrape::target::Target;
use crate::cli::scrape::text::visible;

/// How long a key is waited for before the other events are looked at.
const PATIENCE: Duration = Duration::from_millis(50);

/// Characters of a search; longer than any label.
const MAX_SEARCH: usize = 200;

/// What the other threads say.
enum News {
    Page(io::Result<Page>),
    /// A signal asks for the end.
    ShutdownMode,
}

/// Shows the table until somebody quits.
///
/// # Errors
///
/// Standard output is no terminal, or the terminal fails.
pub(super) fn watch(target: Target, interval: Duration) -> io::Result<()> {
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        return Err(io::Error::other("this is no terminal; use --once to print one table"));
    }
    let (sender, news) = channel();
    let name = target.to_string();
    let stops = sender.clone();
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || await_signal(&stops))?;
    std::thread::Builder::new()
        .name("look".to_owned())
        .spawn(move || look(&target, interval, &sender))?;
    // It sets a panic hook, too, which restores the terminal before anything is printed.
    let mut screen = ratatui::try_init()?;
    let ended =
        Watch { name, history: History::default(), view: View::default() }.run(&mut screen, &news);
    ratatui::restore();
    ended
}

/// How long the thread that owns the screen may take to hear of a signal.
const STOP_LIMIT: Duration = Duration::from_secs(1);

/// Asks again and again. Ends with the process: it has nothing to lose.
fn look(target: &Target, interval: Duration, sender: &Sender<News>) {
    while sender.send(News::Page(target.ask())).is_ok() {
        std::thread::sleep(interval);
    }
}

fn await_signal(sender: &Sender<News>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let Ok(runtime) = runtime else { return };
    runtime.block_on(async {
        let kinds = [SignalKind::terminate(), SignalKind::hangup(), SignalKind::interrupt()];
        let [Ok(mut terminate), Ok(mut hangup), Ok(mut interrupt)] = kinds.map(signal) else {
            return;
        };
        tokio::select! {
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
            _ = interrupt.recv() => {}
            () = hung_up() => {}
        }
    });
    // An error means that the screen is closed already.
    let _told = sender.send(News::ShutdownMode);
    // With the terminal gone, the library that reads it may never come back to hear of it.
    std::thread::sleep(STOP_LIMIT);
    ratatui::restore();
    #[expect(clippy::exit, reason = "the thread that should end the program does not")]
    std::process::exit(0);
}

/// Waits until the terminal is gone. Whoever is not its foreground process gets no SIGHUP then, and
/// the library that reads keys would ask a dead descriptor for ever.
async fn hung_up() {
    const INTERVAL: Duration = Duration::from_millis(500);
    let is_gone = || {
        let input = io::stdin();
        let mut polled = [PollFd::new(&input, PollFlags::IN)];
        let now = Timespec::default();
        match poll(&mut polled, Some(&now)) {
            Ok(_) => polled.iter().any(|fd| {
                fd.revents().intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL)
            }),
            // Interrupted: the next look tells.
            Err(_) => false,
        }
    };
    while !is_gone() {
        tokio::time::sleep(INTERVAL).await;
    }
}

struct Watch {
    name: String,
    history: History,
    view: View,
}

impl Watch {
    fn run(&mut self, screen: &mut DefaultTerminal, news: &Receiver<News>) -> io::Result<()> {
        let mut changed = true;
        loop {
            if changed {
                screen.draw(|frame| self.draw(frame))?;
            }
            changed = false;
            if event::poll(PATIENCE)? {
                changed = true;
                match event::read()? {
                    Event::Key(key) if key.kind != KeyEventKind::Release && self.key(key) => {
                        return Ok(());
                    }
                    _ => {}
                }
            }
            for news in news.try_iter() {
                changed = true;
                match news {
                    News::ShutdownMode => return Ok(()),
                    News::Page(Ok(_)) if self.view.paused => {}
                    News::Page(Ok(page)) => {
                        self.view.problem = None;
                        self.history.add(page);
                    }
                    News::Page(Err(error)) => {
                        self.view.problem = Some(format!("{error}; trying again"));
                    }
                }
            }
        }
    }

    fn draw(&mut self, frame: &mut Frame<'_>) {
        let [table, last] =
            Layout::vertical([Constraint::Min(0), Constraint::Length(1)]).areas(frame.area());
        let figures = self.history.figures(false);
        table::draw(&self.name, &figures, &mut self.view, (table, frame.buffer_mut()));
        self.last_line().render(last, frame.buffer_mut());
    }

    fn last_line(&self) -> Line<'static> {
        let search = visible(&self.view.search);
        match (self.view.typing, search.is_empty()) {
            (true, _) => Line::from(format!("search: {search}_   Enter keeps, Esc clears")).bold(),
            (false, false) => {
                Line::from(format!("search: {search}   / changes it, Esc clears it")).dim()
            }
            (false, true) => Line::from(
                "sort: r rate  c count  e errors  5 p50  p p95  9 p99  n path  m method   / search  \
                 space pause  q quit",
            )
            .dim(),
        }
    }

    /// Returns whether this key ends the program.
    fn key(&mut self, key: KeyEvent) -> bool {
        let view = &mut self.view;
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c' | 'd') if control => return true,
            KeyCode::Char(_) if control => {}
            KeyCode::Esc => (view.typing, view.search) = (false, String::new()),
            KeyCode::Enter => view.typing = false,
            KeyCode::Backspace if view.typing => drop(view.search.pop()),
            KeyCode::Char(_) if view.typing && view.search.chars().count() >= MAX_SEARCH => {}
            KeyCode::Char(c) if view.typing => view.search.push(c),
            KeyCode::Up => view.rows.select_previous(),
            KeyCode::Down => view.rows.select_next(),
            KeyCode::PageUp => view.rows.scroll_up_by(view.page_rows),
            KeyCode::PageDown => view.rows.scroll_down_by(view.page_rows),
            KeyCode::Home => view.rows.select_first(),
            KeyCode::End => view.rows.select_last(),
            KeyCode::Char('q') => return true,
            KeyCode::Char('/') => view.typing = true,
            KeyCode::Char(' ') => view.paused = !view.paused,
            KeyCode::Char(c) => choose(view, c),
            _ => {}
        }
        false
    }
}

/// The same key again turns the order round.
fn choose(view: &mut View, key: char) {
    let sort = match key {
        'r' => Sort::Rate,
        'c' => Sort::Count,
        'e' => Sort::Errors,
        '5' => Sort::Quantile(0),
        'p' => Sort::Quantile(1),
        '9' => Sort::Quantile(2),
        'n' => Sort::Path,
        'm' => Sort::Method,
        _ => return,
    };
    view.reversed = view.sort == sort && !view.reversed;
    (view.sort, view.rows) = (sort, TableState::default());
}

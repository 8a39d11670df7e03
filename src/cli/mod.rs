//! What the user types; the one place where an error becomes a sentence and an exit code.

mod args;
mod argv;
mod databases;

pub fn main() -> std::process::ExitCode {
    std::process::ExitCode::SUCCESS
}

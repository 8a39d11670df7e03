//! What the user types; the one place where an error becomes a sentence and an exit code.

pub fn main() -> std::process::ExitCode {
    std::process::ExitCode::SUCCESS
}

//! The `proscenium` program: parses the command line and runs one command.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    proscenium::cli::main()
}

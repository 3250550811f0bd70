public import ArgumentParser
import Base
import Glibc

/// Runs a command tree: parses, runs, reports, and turns the error into an exit status.
///
/// Replaces `AsyncParsableCommand.main()`, which knows neither coded errors nor `--output json`.
public enum CommandRunner {
    /// Parses `arguments` (default: the process's) as `root` and runs what they name; exits the process.
    public static func main(_ root: any AsyncParsableCommand.Type, arguments: [String]? = nil) async -> Never {
        let arguments = arguments ?? Array(CommandLine.arguments.dropFirst())
        // The network libraries would set this anyway; `Console.write` ends the process quietly instead.
        signal(SIGPIPE, SIG_IGN)
        exit(await run(root, arguments: arguments, console: Console(format: requestedFormat(arguments))))
    }

    /// As ``main(_:arguments:)``, but returns the exit status. `console` serves errors and help; commands make their own.
    public static func run(
        _ root: any AsyncParsableCommand.Type, arguments: [String], console: Console
    ) async -> Int32 {
        do {
            var command = try root.parseAsRoot(arguments)
            if var asynchronous = command as? any AsyncParsableCommand {
                try await asynchronous.run()
            } else {
                try command.run()
            }
            return ExitStatus.success.rawValue
        } catch let error as any CodedError {
            console.report(error)
            return error.exitStatus.rawValue
        } catch is CancellationError {
            console.report(CommandError(.cancelled, "interrupted before the end"))
            return ExitStatus.temporaryFailure.rawValue
        } catch {
            return report(error, root: root, console: console)
        }
    }

    /// Help, version and parse errors of ArgumentParser, and anything that has no code.
    private static func report(
        _ error: any Error, root: any AsyncParsableCommand.Type, console: Console
    ) -> Int32 {
        let status = root.exitCode(for: error)
        if status.isSuccess {
            console.line(root.fullMessage(for: error))
            return ExitStatus.success.rawValue
        }
        if error is ExitCode { return status.rawValue }
        let isUsage = status == .validationFailure
        let text = root.message(for: error)
        guard isUsage else {
            console.report(CommandError(.unexpected, text.isEmpty ? String(describing: error) : text))
            return ExitStatus.software.rawValue
        }
        // The full message ends in a usage line and a pointer to --help; both are the hint.
        let usage = root.fullMessage(for: error).split(separator: "\n").drop { !$0.hasPrefix("Usage:") }
            .map { $0.trimmingPrefix { $0 == " " } }
        console.report(
            CommandError(.usage, text, hint: usage.isEmpty ? nil : usage.joined(separator: "\n  ")))
        return ExitStatus.usage.rawValue
    }

    /// The output format asked for, found without parsing, so that a parse error has the right form too.
    static func requestedFormat(_ arguments: [String]) -> OutputFormat {
        for (index, argument) in arguments.enumerated() {
            if argument == "--" { break }
            if argument == "--output=json" { return .json }
            if argument == "--output", index + 1 < arguments.count, arguments[index + 1] == "json" { return .json }
        }
        return .text
    }
}

public import ArgumentParser

/// How a command writes its result.
public enum OutputFormat: String, CaseIterable, Sendable, ExpressibleByArgument {
    /// Tables and sentences for people.
    case text
    /// One JSON document on standard output; progress and errors as JSON lines on standard error.
    case json
}

/// The options every command has. Add with `@OptionGroup var output: OutputOptions`.
public struct OutputOptions: ParsableArguments {
    @Option(help: "How to write the result: text for people, json for scripts.")
    public var output: OutputFormat = .text

    @Flag(name: .shortAndLong, help: "No progress, only the result and errors.")
    public var quiet = false

    public init() {}

    /// A console that follows the options and the terminal at hand.
    public var console: Console { Console(format: output, quiet: quiet) }
}

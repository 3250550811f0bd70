public import ArgumentParser
import Base
import Glibc
import Synchronization

/// Where a passphrase comes from: a file, a descriptor, or a prompt without echo. Never an argument,
/// since every user of the machine can read those.
public struct PassphraseOptions: ParsableArguments, Sendable {
    /// Bytes.
    static let maximumLength = 1024

    @Option(
        name: .customLong("passphrase-file"),
        help: ArgumentHelp("Read the passphrase from FILE (its first line).", valueName: "file"))
    public var file: String?

    @Option(
        name: .customLong("passphrase-fd"),
        help: ArgumentHelp("Read the passphrase from an open descriptor (its first line).", valueName: "number"))
    public var descriptor: Int32?

    public init() {}

    public mutating func validate() throws {
        guard file == nil || descriptor == nil else {
            throw ValidationError("give --passphrase-file or --passphrase-fd, not both")
        }
    }

    /// True when a passphrase can be had without asking a person.
    public var isGiven: Bool { file != nil || descriptor != nil }

    /// The passphrase. Prompts on the controlling terminal when no file or descriptor is given;
    /// with `confirm`, twice.
    public func read(prompt: String, confirm: Bool = false) throws -> String {
        if let file { return try Self.firstLine(try FileSystem().read(file, limit: Self.maximumLength), of: file) }
        if let descriptor {
            // Read once: it is for every key that the command asks for.
            return try Self.lines.withLock { lines throws in
                if let known = lines[descriptor] { return known }
                let line = try Self.firstLine(try Self.drain(descriptor), of: "descriptor \(descriptor)")
                lines[descriptor] = line
                return line
            }
        }
        let first = try TerminalPrompt.secret(prompt, limit: Self.maximumLength)
        guard confirm else { return first }
        guard try TerminalPrompt.secret("Again: ", limit: Self.maximumLength) == first else {
            throw CommandError(.passphrase, "the two passphrases differ", hint: "run the command again")
        }
        return first
    }

    /// First lines of the descriptors that were read.
    private static let lines = Mutex<[Int32: String]>([:])

    static func firstLine(_ bytes: [UInt8], of source: String) throws -> String {
        var line = bytes.prefix { $0 != 0x0A }
        if line.last == 0x0D { line = line.dropLast() }
        guard !line.isEmpty else {
            throw CommandError(.passphrase, "\(source) holds no passphrase", hint: "write it on the first line")
        }
        guard let text = String(validating: line, as: UTF8.self), !line.contains(0) else {
            throw CommandError(.passphrase, "the passphrase in \(source) is not UTF-8 text")
        }
        return text
    }

    /// Reads up to the first line feed or the end; more than the limit is an error.
    private static func drain(_ descriptor: Int32) throws -> [UInt8] {
        var bytes: [UInt8] = []
        while !bytes.contains(0x0A) {
            var byte: UInt8 = 0
            let count = Glibc.read(descriptor, &byte, 1)
            if count == 0 { break }
            guard count > 0 else {
                if errno == EINTR { continue }
                throw FileSystemError(operation: "read", path: "descriptor \(descriptor)", errno: errno)
            }
            bytes.append(byte)
            guard bytes.count <= maximumLength else {
                throw CommandError(.passphrase, "the passphrase is longer than \(maximumLength) bytes")
            }
        }
        return bytes
    }
}

/// Questions on the controlling terminal.
enum TerminalPrompt {
    /// Reads a line without echo. The terminal is put back before this returns or throws; Ctrl-C is read
    /// as a character so that it cannot leave the echo off.
    static func secret(_ prompt: String, limit: Int) throws -> String {
        let terminal = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY)
        guard terminal >= 0 else {
            throw CommandError(
                .noTerminal, "a passphrase is needed and there is no terminal to ask on",
                hint: "give --passphrase-file FILE or --passphrase-fd NUMBER")
        }
        defer { close(terminal) }
        var saved = termios()
        guard tcgetattr(terminal, &saved) == 0 else {
            throw FileSystemError(operation: "read settings of", path: "/dev/tty", errno: errno)
        }
        var raw = saved
        raw.c_lflag &= ~tcflag_t(ECHO | ICANON | ISIG)
        tcsetattr(terminal, TCSAFLUSH, &raw)
        defer {
            tcsetattr(terminal, TCSAFLUSH, &saved)
            _ = Glibc.write(terminal, "\n", 1)
        }
        _ = prompt.withCString { Glibc.write(terminal, $0, strlen($0)) }
        return try line(from: terminal, limit: limit)
    }

    private static func line(from terminal: Int32, limit: Int) throws -> String {
        var bytes: [UInt8] = []
        while true {
            var byte: UInt8 = 0
            let count = Glibc.read(terminal, &byte, 1)
            if count < 0, errno == EINTR { continue }
            switch byte {
            case _ where count <= 0, 0x0A, 0x0D:
                guard !bytes.isEmpty else {
                    throw CommandError(.passphrase, "no passphrase was given", hint: "run the command again")
                }
                return try PassphraseOptions.firstLine(bytes, of: "the terminal")
            case 0x03, 0x04: throw CommandError(.cancelled, "interrupted at the passphrase prompt")
            case 0x08, 0x7F:
                // Continuation bytes of UTF-8 go together with their first.
                while let last = bytes.popLast(), last & 0xC0 == 0x80 {}
            case 0x15: bytes.removeAll()
            default:
                guard bytes.count < limit else {
                    throw CommandError(.passphrase, "the passphrase is longer than \(limit) bytes")
                }
                bytes.append(byte)
            }
        }
    }
}

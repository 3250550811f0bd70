import Base
import Glibc
import Model

/// The command line's end of the local API. Blocking, one request per connection.
public struct LocalClient: Sendable {
    /// Bytes of one answer, or of one line of a stream.
    public static let answerLimit = 16 << 20

    public let path: String
    public init(path: String) { self.path = path }

    /// Asks, and hands each JSON value of the answer to `each`: one, or one a line until the agent ends.
    ///
    /// - Throws: the agent's own error as ``RemoteError``, `agent.no-agent`, `agent.bad-answer`.
    public func call(
        _ method: String, _ path: String, query: [String: String] = [:], body: JSONValue? = nil,
        each: (JSONValue) throws -> Void
    ) throws {
        var reader = try SocketReader(descriptor: connect())
        defer { close(reader.descriptor) }
        try send(method, path, query, body, to: reader.descriptor)
        let head = try reader.head()
        while let line = try reader.line(head) {
            if line.isEmpty { continue }
            let value: JSONValue
            do throws(JSONError) {
                value = try JSONValue(parsing: line, limits: JSONLimits(size: Self.answerLimit))
            } catch {
                throw AgentError(.badAnswer, "the agent's answer cannot be read: \(error.message)")
            }
            if let error = value["error"], let remote = RemoteError(error) { throw remote }
            try each(value)
        }
    }

    /// The one document of an answer.
    public func document(
        _ method: String, _ path: String, query: [String: String] = [:], body: JSONValue? = nil
    ) throws -> JSONValue {
        var answer: JSONValue?
        try call(method, path, query: query, body: body) { answer = $0 }
        guard let answer else { throw AgentError(.badAnswer, "the agent answered nothing") }
        return answer
    }

    private func connect() throws(AgentError) -> Int32 {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let bytes = Array(path.utf8)
        guard bytes.count < MemoryLayout.size(ofValue: address.sun_path) else {
            throw AgentError(.noAgent, "socket path \(path) is too long")
        }
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: bytes) }
        let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        let connected = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                Glibc.connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        guard connected == 0 else {
            let code = errno
            close(descriptor)
            let why = String(cString: strerror(code))
            throw AgentError(
                code == EACCES ? .forbidden : .noAgent, "cannot reach the agent at \(path): \(why)",
                hint: code == EACCES
                    ? "run as root or as a member of the socket's group" : "start it: systemctl start holdfast-agent")
        }
        return descriptor
    }

    private func send(
        _ method: String, _ path: String, _ query: [String: String], _ body: JSONValue?, to descriptor: Int32
    ) throws {
        let pairs = query.sorted { $0.key < $1.key }.map {
            "\(PercentCoding.encode($0.key))=\(PercentCoding.encode($0.value))"
        }
        let target = path + (pairs.isEmpty ? "" : "?" + pairs.joined(separator: "&"))
        let payload = try body?.serialized(.compact) ?? []
        let head =
            "\(method) \(target) HTTP/1.1\r\nhost: holdfast-agent\r\nconnection: close\r\n"
            + "content-type: application/json\r\ncontent-length: \(payload.count)\r\n\r\n"
        var rest = (Array(head.utf8) + payload)[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { throw AgentError(.noAgent, "the agent closed the connection") }
            rest = rest.dropFirst(count)
        }
    }
}

/// Reads an HTTP/1.1 answer from a socket: head, then lines of a body that is chunked or has a length.
private struct SocketReader {
    struct Head {
        var isChunked: Bool
    }
    let descriptor: Int32
    private var buffer: [UInt8] = []
    private var start = 0
    /// Bytes left of the present chunk or of the body.
    private var left = 0
    private var isDone = false
    private var line: [UInt8] = []

    init(descriptor: Int32) { self.descriptor = descriptor }

    private mutating func byte() throws(AgentError) -> UInt8? {
        if start == buffer.count {
            buffer = [UInt8](unsafeUninitializedCapacity: 1 << 16) { memory, count in
                var got = -1
                repeat { got = recv(descriptor, memory.baseAddress, memory.count, 0) } while got < 0 && errno == EINTR
                count = max(0, got)
            }
            start = 0
            if buffer.isEmpty { return nil }
        }
        defer { start += 1 }
        return buffer[start]
    }

    private mutating func textLine() throws(AgentError) -> String {
        var text: [UInt8] = []
        while let next = try byte() {
            if next == 0x0A { return String(decoding: text.last == 0x0D ? text.dropLast() : text[...], as: UTF8.self) }
            text.append(next)
            guard text.count <= 1 << 16 else { break }
        }
        throw AgentError(
            .badAnswer, "the agent's answer was cut short", hint: "see the agent's log: journalctl -u holdfast-agent")
    }

    mutating func head() throws(AgentError) -> Head {
        guard try textLine().hasPrefix("HTTP/1.1 ") else {
            throw AgentError(.badAnswer, "the agent does not speak HTTP/1.1")
        }
        var head = Head(isChunked: false)
        while true {
            let text = try textLine().lowercased()
            if text.isEmpty { return head }
            if text.hasPrefix("transfer-encoding:"), text.hasSuffix("chunked") { head.isChunked = true }
            if text.hasPrefix("content-length:") { left = Int(text.dropFirst(15).filter { $0 != " " }) ?? 0 }
        }
    }

    /// The next line of the body, or its rest; nil at its end.
    mutating func line(_ head: Head) throws(AgentError) -> [UInt8]? {
        while !isDone {
            if left == 0 {
                guard head.isChunked else {
                    isDone = true
                    break
                }
                let size = Int(try textLine().prefix { $0 != ";" }, radix: 16) ?? 0
                guard size > 0 else {
                    isDone = true
                    break
                }
                left = size
            }
            guard let next = try byte() else {
                throw AgentError(.badAnswer, "the agent's answer was cut short")
            }
            left -= 1
            if left == 0, head.isChunked { _ = try textLine() }
            if next == 0x0A {
                defer { line = [] }
                return line
            }
            line.append(next)
            guard line.count <= LocalClient.answerLimit else {
                throw AgentError(
                    .badAnswer, "a line of the agent's answer is longer than \(LocalClient.answerLimit) bytes")
            }
        }
        guard !line.isEmpty else { return nil }
        defer { line = [] }
        return line
    }
}

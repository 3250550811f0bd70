import Glibc
import TestSupport

/// One request that no honest client sends, and what may come of it.
public struct HostileRequest: Sendable {
    public enum Outcome: Sendable {
        /// A problem with one of these statuses.
        case problem(Set<Int>)
        /// Any 4xx problem, or an end without an answer.
        case refused
        /// Anything below 500: harmless where it is taken, a problem where it is not.
        case harmless
    }

    public var name: String
    public var bytes: [UInt8]
    public var outcome: Outcome
    /// Whether the client sends its end right after the bytes.
    public var finishes: Bool

    public init(_ name: String, _ bytes: [UInt8], _ outcome: Outcome, finishes: Bool = false) {
        self.name = name
        self.bytes = bytes
        self.outcome = outcome
        self.finishes = finishes
    }

    public init(_ name: String, _ text: String, _ outcome: Outcome, finishes: Bool = false) {
        self.init(name, Array(text.utf8), outcome, finishes: finishes)
    }

    /// A request with a body and its length.
    public static func body(
        _ name: String, _ method: String, _ target: String, _ fields: String, _ body: [UInt8], _ outcome: Outcome
    ) -> HostileRequest {
        let head = "\(method) \(target) HTTP/1.1\r\nHost: hub\r\nConnection: close\r\n\(fields)"
        return HostileRequest(name, Array("\(head)Content-Length: \(body.count)\r\n\r\n".utf8) + body, outcome)
    }

    /// A request without a body.
    public static func head(
        _ name: String, _ method: String, _ target: String, _ fields: String, _ outcome: Outcome
    ) -> HostileRequest {
        HostileRequest(
            name, "\(method) \(target) HTTP/1.1\r\nHost: hub\r\nConnection: close\r\n\(fields)\r\n", outcome)
    }

    /// What is wrong with an answer; nil when it is as it should be.
    public func fault(in answer: [UInt8]) -> String? {
        var rest = String(decoding: answer, as: UTF8.self)[...]
        if rest.hasPrefix("HTTP/1.1 100 "), let end = rest.firstRange(of: "\r\n\r\n") { rest = rest[end.upperBound...] }
        let told = "answered \(rest.prefix(120))"
        guard !rest.isEmpty else {
            if case .problem = outcome { return "ended without an answer" }
            return nil
        }
        guard rest.hasPrefix("HTTP/1.1 "), let status = Int(rest.dropFirst(9).prefix(3)) else { return told }
        guard status < 500 else { return told }
        if status >= 400, !bytes.starts(with: Array("HEAD ".utf8)) {
            guard rest.contains("application/problem+json"), rest.contains(#""type":"urn:holdfast:problem:"#),
                rest.contains(#""status":\#(status)"#), rest.contains(#""instance":""#)
            else { return "is no problem document: \(told)" }
        }
        switch outcome {
        case .problem(let statuses): return statuses.contains(status) ? nil : told
        case .refused: return (400..<500).contains(status) ? nil : told
        case .harmless: return nil
        }
    }

    /// Sends each on a connection of its own, eight at a time, and collects what is wrong with the answers.
    public static func faults(of requests: [HostileRequest], port: UInt16) async throws -> [String] {
        try await withThrowingTaskGroup(of: String?.self) { tasks in
            var faults: [String] = []
            for (place, request) in requests.enumerated() {
                if place >= 8, let fault = try await tasks.next() ?? nil { faults.append(fault) }
                tasks.addTask {
                    let answer = try await RudeClient.converse(port, request.bytes, finishes: request.finishes)
                    return request.fault(in: answer).map { "\(request.name): \($0)" }
                }
            }
            for try await fault in tasks { if let fault { faults.append(fault) } }
            return faults
        }
    }

    /// Resident KiB of this process.
    public static func residentMemory() -> Int {
        guard let file = fopen("/proc/self/statm", "r") else { return 0 }
        defer { fclose(file) }
        var line = [CChar](repeating: 0, count: 128)
        guard fgets(&line, 128, file) != nil else { return 0 }
        let text = String(decoding: line.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        return (text.split(separator: " ").dropFirst().first.flatMap { Int($0) } ?? 0) * sysconf(Int32(_SC_PAGESIZE))
            >> 10
    }
}

// MARK: - What every server of this kind has to bear

extension HostileRequest {
    /// - Parameters:
    ///   - get: a target that answers `GET`.
    ///   - post: one that takes a JSON document with `POST`.
    ///   - fields: header lines that let the caller in.
    public static func common(get: String, post: String, fields: String) -> [HostileRequest] {
        framing(get, fields) + heads(get, fields) + lengths(get, post, fields) + documents(post, fields)
            + credentials(get)
    }

    private static func framing(_ get: String, _ fields: String) -> [HostileRequest] {
        let host = "Host: hub\r\nConnection: close\r\n\(fields)"
        var random = SplitMix64(seed: 7)
        let lines: [(String, String)] = [
            ("no version", "GET \(get)\r\n\r\n"), ("no target", "GET\r\n\r\n"),
            ("lower case", "get \(get) HTTP/1.1\r\n\(host)\r\n"),
            ("version 9.9", "GET \(get) HTTP/9.9\r\n\(host)\r\n"),
            ("version 1.1.1", "GET \(get) HTTP/1.1.1\r\n\(host)\r\n"),
            ("another protocol", "GET \(get) HTTQ/1.1\r\n\(host)\r\n"),
            ("a space in the target", "GET /a b HTTP/1.1\r\n\(host)\r\n"),
            ("a zero byte in the target", "GET /\u{0} HTTP/1.1\r\n\(host)\r\n"),
            ("HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
            ("an unknown method", "BREW \(get) HTTP/1.1\r\n\(host)\r\n"),
            ("a long method", "\(String(repeating: "G", count: 5_000)) \(get) HTTP/1.1\r\n\(host)\r\n"),
            ("a field without colon", "GET \(get) HTTP/1.1\r\n\(host)nonsense\r\n\r\n"),
            ("a space before the colon", "GET \(get) HTTP/1.1\r\n\(host)X : 1\r\n\r\n"),
            ("a field without name", "GET \(get) HTTP/1.1\r\n\(host): 1\r\n\r\n"),
            ("a zero byte in a field", "GET \(get) HTTP/1.1\r\n\(host)X: a\u{0}b\r\n\r\n"),
            ("a name that is no token", "GET \(get) HTTP/1.1\r\n\(host)Ü: 1\r\n\r\n"),
            ("no Host", "GET \(get) HTTP/1.1\r\nConnection: close\r\n\(fields)\r\n"),
            ("two Hosts", "GET \(get) HTTP/1.1\r\n\(host)Host: other\r\n\r\n"),
        ]
        return lines.map { HostileRequest($0.0, $0.1, .refused, finishes: true) } + [
            HostileRequest("only newlines", String(repeating: "\r\n", count: 2_000), .refused, finishes: true),
            HostileRequest(
                "random bytes", (0..<4_096).map { _ in UInt8(truncatingIfNeeded: random.next()) }, .refused,
                finishes: true),
            HostileRequest(
                "a TLS hello", [0x16, 3, 1, 2, 0, 1, 0, 1, 0xFC, 3, 3] + Array(repeating: 9, count: 500), .refused,
                finishes: true),
            HostileRequest(
                "a byte above ASCII in the target",
                Array("GET /".utf8) + [0xFF] + Array(" HTTP/1.1\r\n\(host)\r\n".utf8), .refused),
            HostileRequest(
                "line feeds alone", "GET \(get) HTTP/1.1\n\(host.replacing("\r", with: ""))\n", .harmless,
                finishes: true),
            HostileRequest("carriage returns alone", "GET \(get) HTTP/1.1\r\(host)\r\r", .refused, finishes: true),
            HostileRequest("HTTP/1.0 without Host", "GET \(get) HTTP/1.0\r\n\(fields)\r\n", .harmless),
            HostileRequest("a head that does not end", "GET \(get) HTTP/1.1\r\nHost: hub\r\nX", .refused),
            HostileRequest("an end within the head", "GET \(get) HTTP/1.1\r\nHost", .refused, finishes: true),
            HostileRequest("absolute target", "GET http://hub\(get) HTTP/1.1\r\n\(host)\r\n", .harmless),
            HostileRequest("a broken authority", "GET http://[::1 HTTP/1.1\r\n\(host)\r\n", .refused),
            HostileRequest("CONNECT", "CONNECT hub:1 HTTP/1.1\r\n\(host)\r\n", .refused, finishes: true),
            HostileRequest("OPTIONS", "OPTIONS * HTTP/1.1\r\n\(host)\r\n", .problem([404, 405])),
            HostileRequest("TRACE", "TRACE \(get) HTTP/1.1\r\n\(host)\r\n", .problem([405])),
            HostileRequest(
                "a thousand requests at once",
                String(repeating: "GET \(get) HTTP/1.1\r\nHost: hub\r\n\(fields)\r\n", count: 1_000)
                    + "GET \(get) HTTP/1.1\r\n\(host)\r\n", .harmless),
        ]
    }

    private static func heads(_ get: String, _ fields: String) -> [HostileRequest] {
        func long(_ count: Int) -> String { String(repeating: "a", count: count) }
        let large: [(String, String, String)] = [
            ("a field of 9,000 bytes", get, "X: \(long(9_000))\r\n"),
            ("a name of 9,000 bytes", get, "\(long(9_000)): 1\r\n"),
            ("a hundred fields", get, (0..<100).map { "X\($0): 1\r\n" }.joined()),
            ("ten thousand fields", get, String(repeating: "X: 1\r\n", count: 10_000)),
            ("17,000 bytes in few fields", get, (0..<3).map { "X\($0): \(long(5_700))\r\n" }.joined()),
            ("a target of 17,000 bytes", "/\(long(17_000))", ""),
            ("a query of 17,000 bytes", "\(get)?\(long(17_000))", ""),
        ]
        let floods = [
            HostileRequest("a line without end", Array(repeating: 0x41, count: 1 << 20), .refused, finishes: true),
            HostileRequest(
                "fields without end",
                "GET \(get) HTTP/1.1\r\nHost: hub\r\n" + String(repeating: "X: 1\r\n", count: 200_000), .refused,
                finishes: true),
            HostileRequest(
                "a target of 9,000 bytes",
                "GET /\(long(9_000)) HTTP/1.1\r\nHost: hub\r\nConnection: close\r\n\(fields)\r\n", .refused),
        ]
        let odd: [(String, String)] = [
            ("Connection of many words", "Connection: keep-alive, close, upgrade, x\r\n"),
            ("an upgrade", "Upgrade: websocket\r\nConnection: Upgrade\r\n"),
            ("an upgrade to HTTP/2", "Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"),
            ("an expectation that is not known", "Expect: the-moon\r\n"),
            ("a continuation line", "X: 1\r\n folded\r\n"),
            ("Accept of rubbish", "Accept: ;;;,,,\u{7F}\r\n"),
            ("Accept-Encoding of rubbish", "Accept-Encoding: zstd;q=x,,;=\r\n"),
            ("tags without end", "If-None-Match: \"aaa\r\n"),
            ("a thousand tags", "If-None-Match: \(String(repeating: "\"a\",", count: 1_500))\r\n"),
            ("many weak tags", "If-None-Match: W/W/W/\"\r\n"),
            ("a date of rubbish", "If-Modified-Since: yesterday\r\n"),
        ]
        let ranges = [
            "bytes=", "bytes=-", "bytes=a-b", "bytes=5-2", "bytes=-0", "bytes=0-0,1-1,2-2", "lines=1-2",
            "bytes=99999999999999999999-",
            "bytes=-99999999999999999999", "bytes=0--1", "bytes= 1-2", "bytes=1-2junk",
            String(repeating: "bytes=0-1,", count: 500),
        ]
        return large.map { .head($0.0, "GET", $0.1, fields + $0.2, .problem([414, 431])) } + floods
            + odd.map { .head($0.0, "GET", get, fields + $0.1, .harmless) }
            + ranges.map { .head("Range \($0.prefix(30))", "GET", get, "\(fields)Range: \($0)\r\n", .harmless) }
    }

    private static func lengths(_ get: String, _ post: String, _ fields: String) -> [HostileRequest] {
        func with(_ name: String, _ more: String, _ body: String, _ outcome: Outcome, finishes: Bool = false)
            -> HostileRequest
        {
            HostileRequest(
                name, "POST \(post) HTTP/1.1\r\nHost: hub\r\nConnection: close\r\n\(fields)\(more)\r\n\(body)", outcome,
                finishes: finishes)
        }
        let chunked = "Transfer-Encoding: chunked\r\n"
        return ["abc", "-1", "+5", "5, 5", "0x10", "99999999999999999999999", "", "1 2"].map {
            with("Content-Length \"\($0)\"", "Content-Length: \($0)\r\n", "hello", .refused, finishes: true)
        } + [
            with("two lengths", "Content-Length: 5\r\nContent-Length: 6\r\n", "hello!", .refused, finishes: true),
            with("a length of 2^63-1", "Content-Length: 9223372036854775807\r\n", "", .problem([413])),
            with(
                "length and chunks", "Content-Length: 5\r\n\(chunked)", "5\r\nhello\r\n0\r\n\r\n", .refused,
                finishes: true),
            with("an encoding that is not known", "Transfer-Encoding: gzip\r\n", "hello", .refused, finishes: true),
            with(
                "chunks that are not last", "Transfer-Encoding: chunked, gzip\r\n", "5\r\nhello\r\n0\r\n\r\n", .refused,
                finishes: true),
            with(
                "nearly chunks", "Transfer-Encoding: xchunked\r\n", "5\r\nhello\r\n0\r\n\r\n", .refused, finishes: true),
            with("a chunk of size zz", chunked, "zz\r\nhello\r\n0\r\n\r\n", .refused, finishes: true),
            with("a chunk of size -1", chunked, "-1\r\nhello\r\n0\r\n\r\n", .refused, finishes: true),
            with("a chunk of 2^68", chunked, "FFFFFFFFFFFFFFFFF\r\nhello\r\n0\r\n\r\n", .refused, finishes: true),
            with("a chunk without its end", chunked, "5\r\nhelloX0\r\n\r\n", .refused, finishes: true),
            with("a chunk cut short", chunked, "400\r\nhello", .refused, finishes: true),
            with("chunks without a last", chunked, "5\r\nhello\r\n", .refused, finishes: true),
            with(
                "a chunk's long extension", chunked, "5;\(String(repeating: "x", count: 70_000))\r\nhello\r\n0\r\n\r\n",
                .refused, finishes: true),
            with(
                "a thousand trailers", chunked, "0\r\n\(String(repeating: "X: 1\r\n", count: 1_000))\r\n", .harmless,
                finishes: true),
            with(
                "a body of many small chunks", chunked, String(repeating: "1\r\na\r\n", count: 70_000) + "0\r\n\r\n",
                .refused),
            with(
                "more than was announced", "Content-Length: 5\r\n", String(repeating: "hello", count: 1_000), .refused),
            with("a body cut short", "Content-Length: 500\r\n", "{", .refused, finishes: true),
            with("a body that does not come", "Content-Length: 500\r\n", "{", .problem([408])),
            with(
                "a large body after asking", "Expect: 100-continue\r\nContent-Length: 100000000\r\n", "",
                .problem([413])),
            with(
                "eight megabytes in chunks", chunked,
                "800000\r\n\(String(repeating: "a", count: 8 << 20))\r\n0\r\n\r\n", .refused),
            .head("a body on GET", "GET", get, "\(fields)Content-Length: 3\r\n", .harmless),
            with(
                "a compressed body", "Content-Encoding: gzip\r\nContent-Length: 20\r\n",
                "\u{1F}\u{8B}\u{8}" + String(repeating: "a", count: 16), .refused),
        ]
    }

    /// JSON that is none, or too much of it.
    public static func documents(_ post: String, _ fields: String) -> [HostileRequest] {
        func nested(_ open: String, _ count: Int, _ close: String) -> [UInt8] {
            Array((String(repeating: open, count: count) + String(repeating: close, count: count)).utf8)
        }
        let texts: [(String, String)] = [
            ("nothing", ""), ("an open brace", "{"), ("null", "null"), ("a list", "[]"), ("a text", "\"a\""),
            ("a number", "1"),
            ("an infinite number", "{\"a\": 1e999}"), ("NaN", "{\"a\": NaN}"),
            ("a member twice", "{\"a\": 1, \"a\": 2}"),
            ("something after the end", "{} {}"), ("a comment", "{/* */}"), ("single quotes", "{'a': 1}"),
            ("a comma too many", "{\"a\": 1,}"),
            ("half a surrogate", "{\"a\": \"\\ud800\"}"), ("an unknown escape", "{\"a\": \"\\x41\"}"),
            ("a zero byte", "{\"\u{0}\": 1}"),
            ("a line feed in a text", "{\"a\": \"\n\"}"), ("a member that is not known", "{\"__proto__\": {}}"),
            ("a number of a thousand digits", "{\"a\": \(String(repeating: "9", count: 1_000))}"),
            ("a text of 60,000 bytes", "{\"a\": \"\(String(repeating: "a", count: 60_000))\"}"),
            ("ten thousand members", "{\((0..<10_000).map { "\"\($0)\":1" }.joined(separator: ","))}"),
        ]
        let bytes: [(String, [UInt8])] = [
            ("deep lists", nested("[", 30_000, "]")), ("lists that do not end", Array(repeating: 0x5B, count: 60_000)),
            ("deep objects", Array(String(repeating: "{\"a\":", count: 10_000).utf8)),
            ("a byte order mark", [0xEF, 0xBB, 0xBF, 0x7B, 0x7D]),
            ("a byte that is no UTF-8", [0x7B, 0x22, 0xFF, 0x22, 0x3A, 0x31, 0x7D]),
            ("an overlong form", [0x7B, 0x22, 0xC0, 0xAF, 0x22, 0x3A, 0x31, 0x7D]),
            ("a surrogate in UTF-8", [0x7B, 0x22, 0xED, 0xA0, 0x80, 0x22, 0x3A, 0x31, 0x7D]),
            ("UTF-16", [0xFF, 0xFE, 0x7B, 0, 0x7D, 0]),
        ]
        return (texts.map { ($0.0, Array($0.1.utf8)) } + bytes).map {
            .body("a document: \($0.0)", "POST", post, fields, $0.1, .problem([400, 413, 422]))
        }
    }

    private static func credentials(_ get: String) -> [HostileRequest] {
        func token(_ header: String, _ claims: String, _ signature: String = "AAAA") -> String {
            "Bearer \(base64(header)).\(base64(claims)).\(signature)"
        }
        let claims = #"{"sub":"admin","scope":"devices:read","exp":99999999999}"#
        let fields = [
            "", "Bearer", "Bearer ", "bearer x", "Basic YWRtaW46YWRtaW4=", "Bearer ..", "Bearer a.b", "Bearer a.b.c.d",
            "Bearer !!!.???.***",
            "Bearer \(String(repeating: "a", count: 7_000))", token(#"{"alg":"none"}"#, claims, ""),
            token(#"{"alg":"none","typ":"at+jwt"}"#, claims, ""),
            token(#"{"alg":"HS256","typ":"at+jwt","kid":"1"}"#, claims),
            token(#"{"alg":"EdDSA","typ":"JWT","kid":"1"}"#, claims),
            token(#"{"alg":"EdDSA","typ":"at+jwt","kid":"../../etc/passwd"}"#, claims),
            token(#"{"alg":"EdDSA","typ":"at+jwt","crit":["x"],"kid":"1"}"#, claims),
            token(#"{"alg":"EdDSA","typ":"at+jwt","kid":"1","jwk":{}}"#, claims),
            token(String(repeating: "[", count: 2_000), claims),
            token("{}", String(repeating: "{\"a\":", count: 300)), token("null", "null"), "Bearer \u{1F512}.a.b",
            "Bearer a b c",
        ]
        return fields.map {
            .head("Authorization: \($0.prefix(40))", "GET", get, "Authorization: \($0)\r\n", .problem([401]))
        } + [
            .head("no credentials", "GET", get, "", .problem([401])),
            .head(
                "credentials twice", "GET", get, "Authorization: Bearer a\r\nAuthorization: Bearer b\r\n",
                .problem([401])),
        ]
    }

    private static func base64(_ text: String) -> String {
        let digits = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
        var output = ""
        var rest = Array(text.utf8)[...]
        while !rest.isEmpty {
            let group = Array(rest.prefix(3))
            rest = rest.dropFirst(3)
            let word = group.reduce(0) { $0 << 8 | Int($1) } << (8 * (3 - group.count))
            for place in 0...group.count { output.append(digits[word >> (18 - 6 * place) & 63]) }
        }
        return output
    }
}

import Glibc

/// The machine this runs in: tools, clock, and a place to report.
enum Machine {
    struct Failed: Error, CustomStringConvertible {
        var description: String
    }

    static func check(_ condition: Bool, _ what: String) throws {
        guard condition else { throw Failed(description: what) }
    }

    static func say(_ text: String) {
        let line = Array((text + "\n").utf8)
        _ = write(1, line, line.count)
    }

    @discardableResult
    static func shell(_ command: String, mayFail: Bool = false) throws -> String {
        guard let pipe = popen("{ \(command); } 2>&1", "r") else { throw Failed(description: "popen \(command)") }
        var output: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 64 << 10)
        while true {
            let count = fread(&chunk, 1, chunk.count, pipe)
            if count == 0 { break }
            output += chunk[..<count]
        }
        let text = String(decoding: output, as: UTF8.self)
        guard pclose(pipe) == 0 || mayFail else { throw Failed(description: "\(command): \(text)") }
        return text
    }

    static func succeeds(_ command: String) throws -> Bool {
        guard let pipe = popen("{ \(command); } >/dev/null 2>&1", "r") else {
            throw Failed(description: "popen \(command)")
        }
        return pclose(pipe) == 0
    }

    static var seconds: Int64 {
        get { Int64(time(nil)) }
        set {
            var value = timespec(tv_sec: time_t(newValue), tv_nsec: 0)
            clock_settime(CLOCK_REALTIME, &value)
        }
    }
}

/// SplitMix64: the same sequence on every run.
struct Generator: RandomNumberGenerator {
    private var state: UInt64
    init(seed: UInt64) { state = seed }
    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
    mutating func bytes(_ count: Int) -> [UInt8] { (0..<count).map { _ in UInt8.random(in: 0...255, using: &self) } }
}

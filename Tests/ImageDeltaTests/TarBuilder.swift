/// Writes tar streams for tests: every member kind a layer may have, in the forms that builders use.
struct TarBuilder {
    private(set) var bytes: [UInt8] = []
    var modified: Int64 = 1_700_000_000
    /// Put before every path, as `tar -C TREE -c .` does.
    var prefix = "./"

    mutating func directory(_ path: String, mode: Int64 = 0o755) { header(path + "/", type: "5", mode: mode) }
    mutating func symlink(_ path: String, to target: String) { header(path, type: "2", mode: 0o777, link: target) }
    mutating func hardLink(_ path: String, to target: String) {
        header(path, type: "1", link: prefix + target)
    }
    mutating func device(_ path: String, major: Int64, minor: Int64) {
        header(path, type: "3", device: (major, minor))
    }
    mutating func fifo(_ path: String) { header(path, type: "6") }
    mutating func whiteout(_ name: String, in folder: String) { file(folder + "/.wh." + name, []) }

    mutating func file(_ path: String, _ content: [UInt8], mode: Int64 = 0o644) {
        header(path, type: "0", mode: mode, size: Int64(content.count))
        pad(content)
    }

    /// Extended attributes, long names and the like, as a pax record before the member.
    mutating func pax(_ records: [(String, [UInt8])]) {
        var body: [UInt8] = []
        for (key, value) in records {
            let rest = Array(" \(key)=".utf8) + value + [0x0A]
            var length = rest.count + 1
            while String(length).utf8.count + rest.count != length { length += 1 }
            body += Array(String(length).utf8) + rest
        }
        header("PaxHeaders/x", type: "x", size: Int64(body.count))
        pad(body)
    }

    mutating func gnuLongName(_ path: String) {
        let body = Array((prefix + path).utf8) + [0]
        header("././@LongLink", type: "L", size: Int64(body.count))
        pad(body)
    }

    /// Two zero blocks, then up to a record of 10 KiB.
    mutating func finish() -> [UInt8] {
        bytes += [UInt8](repeating: 0, count: 1024)
        bytes += [UInt8](repeating: 0, count: (10240 - bytes.count % 10240) % 10240)
        return bytes
    }

    private mutating func pad(_ content: [UInt8]) {
        bytes += content
        bytes += [UInt8](repeating: 0, count: (512 - content.count % 512) % 512)
    }

    private mutating func header(
        _ path: String, type: Character, mode: Int64 = 0o644, size: Int64 = 0, link: String = "",
        device: (Int64, Int64) = (0, 0)
    ) {
        var block = [UInt8](repeating: 0, count: 512)
        func put(_ text: String, _ offset: Int, _ limit: Int) {
            for (index, byte) in text.utf8.prefix(limit).enumerated() { block[offset + index] = byte }
        }
        func octal(_ value: Int64, _ offset: Int, _ width: Int) {
            let digits = String(value, radix: 8)
            put(String(repeating: "0", count: max(0, width - 1 - digits.count)) + digits, offset, width - 1)
        }
        put(type == "x" || type == "L" ? path : prefix + path, 0, 100)
        octal(mode, 100, 8)
        octal(0, 108, 8)
        octal(0, 116, 8)
        octal(size, 124, 12)
        octal(modified, 136, 12)
        block[156] = type.asciiValue ?? 0
        put(link, 157, 100)
        put("ustar", 257, 6)
        put("00", 263, 2)
        octal(device.0, 329, 8)
        octal(device.1, 337, 8)
        put("        ", 148, 8)
        let sum = block.reduce(Int64(0)) { $0 + Int64($1) }
        let digits = String(sum, radix: 8)
        put(String(repeating: "0", count: 6 - digits.count) + digits, 148, 6)
        block[154] = 0
        block[155] = 0x20
        bytes += block
    }
}

/// A path without what changes from build to build: version numbers and content hashes become `#`.
enum FoldedPath {
    /// Hexadecimal digits in a row, a decimal one among them, that make a content hash.
    private static let hashDigits = 8

    static func fold(_ path: some Collection<UInt8>) -> [UInt8] {
        let bytes = Array(path)
        var output: [UInt8] = []
        var index = 0
        while index < bytes.count {
            if let end = hashEnd(bytes, index) {
                output.append(0x23)
                index = end
            } else if isDigit(bytes[index]) {
                while index < bytes.count, isVersionByte(bytes, index) { index += 1 }
                output.append(0x23)
            } else {
                // A hash starts where a run of hexadecimal digits starts, not inside a word.
                output.append(bytes[index])
                index += 1
            }
        }
        return output
    }

    static func baseName(_ path: [UInt8]) -> ArraySlice<UInt8> {
        path.lastIndex(of: 0x2F).map { path[($0 + 1)...] } ?? path[...]
    }

    private static func isDigit(_ byte: UInt8) -> Bool { (0x30...0x39).contains(byte) }
    private static func isHex(_ byte: UInt8) -> Bool {
        isDigit(byte) || (0x61...0x66).contains(byte) || (0x41...0x46).contains(byte)
    }

    private static func isVersionByte(_ bytes: [UInt8], _ index: Int) -> Bool {
        if isDigit(bytes[index]) || bytes[index] == 0x5F { return true }
        return bytes[index] == 0x2E && index + 1 < bytes.count && isDigit(bytes[index + 1])
    }

    private static func hashEnd(_ bytes: [UInt8], _ start: Int) -> Int? {
        var end = start
        var hasDigit = false
        while end < bytes.count, isHex(bytes[end]) {
            hasDigit = hasDigit || isDigit(bytes[end])
            end += 1
        }
        return end - start >= hashDigits && hasDigit ? end : nil
    }
}

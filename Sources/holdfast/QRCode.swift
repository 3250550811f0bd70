import Base
import CQREncode

/// A QR code (ISO/IEC 18004) as text for a terminal: half blocks, two rows of modules a line.
enum QRCode {
    /// Modules of white around the code; the standard asks for four.
    private static let margin = 4

    /// Nil when the text does not fit a code. Light modules are drawn, so that it reads on a dark terminal.
    static func text(_ content: String) -> String? {
        guard let code = QRcode_encodeString(content, 0, QR_ECLEVEL_M, QR_MODE_8, 1) else { return nil }
        defer { QRcode_free(code) }
        let width = Int(code.pointee.width)
        guard let data = code.pointee.data else { return nil }
        func isLight(_ row: Int, _ column: Int) -> Bool {
            guard (0..<width).contains(row), (0..<width).contains(column) else { return row < width + margin }
            return data[row * width + column] & 1 == 0
        }
        var lines: [String] = []
        for row in stride(from: -margin, to: width + margin, by: 2) {
            var line = ""
            for column in -margin..<(width + margin) {
                switch (isLight(row, column), isLight(row + 1, column)) {
                case (true, true): line += "█"
                case (true, false): line += "▀"
                case (false, true): line += "▄"
                case (false, false): line += " "
                }
            }
            lines.append(line)
        }
        return lines.joined(separator: "\n")
    }
}

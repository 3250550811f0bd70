/// Rows of text in aligned columns, for people. Scripts take the JSON form instead.
public struct Table: Sendable {
    public struct Cell: Sendable, ExpressibleByStringLiteral {
        public var text: String
        public var style: TextStyle
        public init(_ text: some CustomStringConvertible, style: TextStyle = .plain) {
            self.text = TerminalText.sanitized(text.description)
            self.style = style
        }
        public init(stringLiteral value: String) { self.init(value) }
    }

    public var titles: [String]
    public var rows: [[Cell]]

    public init(_ titles: String..., rows: [[Cell]] = []) {
        self.titles = titles
        self.rows = rows
    }

    public mutating func add(_ cells: Cell...) { rows.append(cells) }
    public mutating func add(_ texts: [String]) { rows.append(texts.map { Cell($0) }) }

    /// Two spaces between columns, none at line ends; titles in upper case. A table without rows is empty.
    public func rendered(color: Bool = false) -> String {
        guard !rows.isEmpty else { return "" }
        let head = titles.map { Cell($0.uppercased(), style: .bold) }
        let all = (titles.isEmpty ? [] : [head]) + rows
        let count = all.map(\.count).max() ?? 0
        let widths = (0..<count).map { column in
            all.map { column < $0.count ? $0[column].text.count : 0 }.max() ?? 0
        }
        return all.map { row in
            var line = ""
            for (column, cell) in row.enumerated() {
                line += cell.style.apply(cell.text, enabled: color)
                let isLast = !row[(column + 1)...].contains { !$0.text.isEmpty }
                if isLast { break }
                line += String(repeating: " ", count: widths[column] - cell.text.count + 2)
            }
            return line + "\n"
        }.joined()
    }
}

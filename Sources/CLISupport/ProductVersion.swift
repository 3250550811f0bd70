/// What `--version` says of the programs that are built together.
public enum Product {
    public static let version = "1.0.0"
}

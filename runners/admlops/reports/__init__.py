"""What a person looks at: charts, pictures, one HTML page a run or comparison."""

"""What is stored: SQLAlchemy records behind repositories, and the vector store of motion gradients."""
